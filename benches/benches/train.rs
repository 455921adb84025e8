//! Training: `counting/<pattern>/<bytes of text>` and `spilling/<bytes of memory>/<bytes of text>` in bytes per second, and
//! `merging/<vocabulary>/<bytes of text>` in merges per second.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use cs336_benches::{corpus, count, count_within, merges};

const MIB: usize = 1 << 20;

fn counting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counting");
    group.sampling_mode(SamplingMode::Flat);
    for (pattern, size) in [("gpt2", MIB), ("gpt2", 4 * MIB), ("cl100k", MIB), ("o200k", MIB)] {
        let text = corpus(1, size);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new(pattern, size), |bencher| {
            bencher.iter(|| count(black_box(&text), pattern, 1).expect("the text is not empty"));
        });
    }
    group.finish();
}

fn spilling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spilling");
    group.sampling_mode(SamplingMode::Flat);
    let text = corpus(1, 4 * MIB);
    // From none that spills to many runs.
    for memory in [64 * MIB, 8 * MIB, MIB / 2] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new(memory.to_string(), text.len()), |bencher| {
            bencher.iter(|| count_within(black_box(&text), "gpt2", memory as u64).expect("there is room for files"));
        });
    }
    group.finish();
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merging");
    group.sampling_mode(SamplingMode::Flat);
    for size in [MIB, 4 * MIB] {
        let counts = count(&corpus(1, size), "gpt2", 1).expect("the text is not empty");
        for vocabulary in [1_000, 10_000] {
            let learned = merges(&counts, vocabulary).expect("the size is valid").len();
            group.throughput(Throughput::Elements(learned as u64));
            group.bench_function(BenchmarkId::new(vocabulary.to_string(), size), |bencher| {
                bencher.iter(|| merges(black_box(&counts), vocabulary).expect("the size is valid"));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = counting, spilling, merging
}
criterion_main!(benches);
