//! Encoding and decoding: `encoding/<pattern>/<bytes of text>` and `decoding/<pattern>/<bytes of text>`, both in bytes of
//! text per second. The text is another than the one the vocabulary of 10,000 entries comes from.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use cs336_benches::{corpus, tokenizer};
use cs336_bpe::SpecialPolicy;

const MIB: usize = 1 << 20;

fn encoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encoding");
    group.sampling_mode(SamplingMode::Flat);
    for pattern in ["gpt2", "cl100k", "o200k"] {
        let tokenizer = tokenizer(&corpus(1, 2 * MIB), pattern, 10_000).expect("the size is valid");
        for size in [100, 10_000, MIB] {
            let text = corpus(2, MIB);
            // A short text is the beginning of a long one; what is cut may not be half a character.
            let text = &text[..text.floor_char_boundary(size)];
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(pattern, size), |bencher| {
                let mut ids = Vec::new();
                bencher.iter(|| {
                    ids.clear();
                    tokenizer
                        .encode(black_box(text.as_bytes()), &SpecialPolicy::Token, &mut ids)
                        .expect("no token is refused");
                    black_box(ids.len())
                });
            });
        }
    }
    group.finish();
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decoding");
    group.sampling_mode(SamplingMode::Flat);
    let tokenizer = tokenizer(&corpus(1, 2 * MIB), "gpt2", 10_000).expect("the size is valid");
    let text = corpus(2, MIB);
    let mut ids = Vec::new();
    tokenizer.encode(text.as_bytes(), &SpecialPolicy::Token, &mut ids).expect("no token is refused");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(BenchmarkId::new("gpt2", MIB), |bencher| {
        bencher.iter(|| tokenizer.decode_bytes(black_box(&ids)).expect("all ids are known"));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = encoding, decoding
}
criterion_main!(benches);
