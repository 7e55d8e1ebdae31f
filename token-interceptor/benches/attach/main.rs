//! The cost of attaching a token, beside its floor: one snapshot load and one header clone.
//!
//! `cargo bench -p token-interceptor --bench attach`. The table at the end is the result: criterion's own
//! figures compare with the previous run.

#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod case;
#[path = "../shared/turns.rs"]
mod turns;

use criterion::{BatchSize, Criterion, criterion_group};

use case::{Attaching, Figures, Large, headers, request};
use turns::nothing;

fn criterion_cases(criterion: &mut Criterion) {
    let bench = Attaching::new();
    let batch = BatchSize::SmallInput;
    let mut group = criterion.benchmark_group("attach");
    group.bench_function("snapshot load and header clone (floor)", |b| {
        b.iter_batched_ref(headers, |headers| bench.floor(headers), batch);
    });
    group.bench_function("token in hand, checked, attached", |b| {
        b.iter_batched_ref(headers, |headers| bench.attached(headers), batch);
    });
    group.bench_function("no layer", |b| b.iter_batched(request, nothing, batch));
    group.bench_function("whole layer", |b| b.iter_batched(request, |request| bench.whole_layer(request), batch));
    let large = Large::new();
    group.bench_function("client clone, 200 methods", |b| b.iter(|| large.cloned()));
    group.finish();
}

fn table() {
    let Figures { floor, attached, whole_layer, on_behalf, cloned } = Figures::measure();
    println!("\nmedians, cases taking turns");
    println!("  snapshot load and header clone {floor:>9.0?}");
    println!("  token checked and attached     {attached:>9.0?}   goal ≤ 100 ns");
    println!("  whole layer, ready to replay   {whole_layer:>9.0?}");
    println!("  the same on behalf of a caller {on_behalf:>9.0?}");
    println!("  client clone, 200 methods      {cloned:>9.0?}   goal ≤ 60 ns");
}

criterion_group!(benches, criterion_cases);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    table();
}
