//! No counts file makes the reader panic.
#![no_main]

use cs336_bpe::count::Words;
use cs336_bpe::formats::counts::CountsFile;
use cs336_bpe_fuzz::with_files;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| with_files(&[content], |paths| {
    if let Ok(file) = CountsFile::open(paths[0]) {
        let mut words = 0;
        let read = file.for_each(&mut |_, count| {
            assert!(count > 0);
            words += 1;
            Ok(())
        });
        assert!(read.is_err() || words == file.header().distinct);
    }
}));
