//! Large tables that are read all over the place, and how much memory the process has.

/// From this size on a table is worth pages of its own kind.
#[cfg(target_os = "linux")]
const WORTH_HUGE_PAGES: usize = 8 << 20;

/// Asks the system to back a vector's memory by huge pages, before anything touches it: a lookup then misses one cache
/// less, that of the page table, and there are 512 times fewer pages to hand out. Where it can't, nothing changes.
pub(crate) fn prefer_huge_pages<T>(vector: &mut Vec<T>) {
    #[cfg(target_os = "linux")]
    {
        let size = vector.capacity() * size_of::<T>();
        if size >= WORTH_HUGE_PAGES {
            const PAGE: usize = 4096;
            let start = (vector.as_mut_ptr() as usize).next_multiple_of(PAGE);
            let end = (vector.as_mut_ptr() as usize + size) & !(PAGE - 1);
            // SAFETY: the range lies inside the vector's own memory, and the advice changes none of its content.
            unsafe { libc::madvise(start as *mut libc::c_void, end.saturating_sub(start), libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = vector;
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
