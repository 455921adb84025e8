//! Large tables that are read all over the place, and how much memory the process has.

use std::mem::MaybeUninit;

/// A page of its own kind, for large tables.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// From this size on a table is worth such pages.
#[cfg(target_os = "linux")]
const WORTH_HUGE_PAGES: usize = HUGE_PAGE;

/// Asks the system to back a vector's memory by huge pages, before anything touches it: a lookup then misses one cache
/// less, that of the page table, and there are 512 times fewer pages to hand out. Where it can't, nothing changes.
pub(crate) fn prefer_huge_pages<T>(vector: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    if let Some((start, size)) = whole_pages(vector) {
        // SAFETY: the range lies inside the vector's own memory, and the advice changes none of its content.
        unsafe { libc::madvise(start, size, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vector;
}

/// Start and size of the pages that only a vector's memory lies on; `None` where they are not worth asking the system for
/// anything.
#[cfg(target_os = "linux")]
fn whole_pages<T>(vector: &mut Vec<T>) -> Option<(*mut libc::c_void, usize)> {
    const PAGE: usize = 4096;
    let size = vector.capacity() * size_of::<T>();
    let start = vector.as_mut_ptr().cast::<u8>();
    let before = start.align_offset(PAGE);
    let whole = size.checked_sub(before)? & !(PAGE - 1);
    (size >= WORTH_HUGE_PAGES).then(|| (start.wrapping_add(before).cast(), whole))
}

/// A table that begins where a huge page does, if it is large.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// Those before the first element are never touched, so that they take no memory.
    places: Vec<MaybeUninit<T>>,
    skipped: usize,
    len: usize,
}

/// Gives memory that was freed, but that the allocator keeps, back to the system: after work that needs much more than it
/// leaves behind.
pub(crate) fn give_back() {
    // SAFETY: it only concerns memory that nobody has.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

impl<T> Drop for Table<T> {
    /// Large tables come from the allocator's own memory as soon as it has seen one freed, and would stay resident there.
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some((start, size)) = whole_pages(&mut self.places) {
            // SAFETY: the range lies inside the vector's own memory, which nobody reads from now on. The elements are plain
            // data, for `new` asks for `Copy`.
            unsafe { libc::madvise(start, size, libc::MADV_DONTNEED) };
        }
    }
}

impl<T: Copy> Table<T> {
    /// A table of `len` times the same value, `None` where there is no memory. Its size divides that of a page.
    pub fn new(value: T, len: usize) -> Option<Self> {
        let slack = if len * size_of::<T>() >= HUGE_PAGE / 4 { HUGE_PAGE / size_of::<T>() } else { 0 };
        let mut places: Vec<MaybeUninit<T>> = Vec::new();
        places.try_reserve_exact(len + slack).ok()?;
        prefer_huge_pages(&mut places);
        // Where there is no such place, all stays right and gets slower.
        let skipped = places.as_ptr().align_offset(HUGE_PAGE).min(slack);
        places.spare_capacity_mut()[skipped..skipped + len].fill(MaybeUninit::new(MaybeUninit::new(value)));
        // SAFETY: there is room for so many, and these may be uninitialized.
        unsafe { places.set_len(skipped + len) };
        Some(Self { places, skipped, len })
    }

    /// A table of these elements, at least one.
    pub fn of(elements: &[T]) -> Option<Self> {
        let mut table = Self::new(*elements.first()?, elements.len())?;
        table.copy_from_slice(elements);
        Some(table)
    }
}

impl<T> std::ops::Deref for Table<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let places = &self.places[self.skipped..][..self.len];
        // SAFETY: all of these were given a value when the table was made.
        unsafe { &*(std::ptr::from_ref(places) as *const [T]) }
    }
}

impl<T> std::ops::DerefMut for Table<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let places = &mut self.places[self.skipped..][..self.len];
        // SAFETY: all of these were given a value when the table was made.
        unsafe { &mut *(std::ptr::from_mut(places) as *mut [T]) }
    }
}

/// Asks for the cache line of a value that is going to be needed soon.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, and the address is that of a value anyway.
        unsafe { _mm_prefetch(std::ptr::from_ref(value).cast(), _MM_HINT_T0) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The most memory the process ever had resident, in bytes; `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// The memory the process has resident now, in bytes; `None` where the system does not tell.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// A line of what Linux tells about the process, in kB there.
fn status(name: &str) -> Option<u64> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
