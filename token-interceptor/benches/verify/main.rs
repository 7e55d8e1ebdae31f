//! The cost of verification, beside the bare signature check of the same token in the same run.
//!
//! `cargo bench -p token-interceptor --bench verify`. The table at the end is the result: criterion's own
//! figures compare with the previous run.

#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod case;
mod scale;
#[path = "../shared/turns.rs"]
mod turns;

use criterion::{BatchSize, Criterion, criterion_group};

use case::{Figures, Verification};
use turns::nothing;

fn criterion_cases(criterion: &mut Criterion) {
    let bench = Verification::new();
    let mut group = criterion.benchmark_group("verify");
    group.bench_function("bare ring ES256 verification (floor)", |b| b.iter(|| bench.bare()));
    group.bench_function("new token", |b| b.iter(|| bench.new_token()));
    let batch = BatchSize::SmallInput;
    group.bench_function("no layer", |b| b.iter_batched(|| bench.request(), nothing, batch));
    group.bench_function("token seen before, whole layer", |b| {
        b.iter_batched(|| bench.request(), |request| bench.whole_layer(request), batch);
    });
    group.bench_function("no token, refused", |b| {
        b.iter_batched(|| bench.bare_request(), |request| bench.whole_layer(request), batch);
    });
    group.finish();
}

fn table() {
    let Figures { bare, new_token, whole_layer, refused } = Figures::measure();
    let of_bare = |cost: std::time::Duration| cost.as_secs_f64() / bare.as_secs_f64();
    println!("\nmedians, cases taking turns");
    println!("  bare ring ES256 verification   {bare:>9.0?}   1.000");
    println!("  new token, every check         {new_token:>9.0?}   {:.3}   goal ≤ 1.05", of_bare(new_token));
    println!("  token seen before, whole layer {whole_layer:>9.0?}   {:.4}   goal ≤ 250 ns", of_bare(whole_layer));
    println!("  no token, refused              {refused:>9.0?}   {:.4}   goal ≤ an admission", of_bare(refused));

    let figures = scale::Figures::measure();
    let scale::Figures { unseen, seen, rotated, first_revocations, later_revocations } = figures;
    println!("\n{} tokens, each once in a pass; with the request's and the answer's own cost", scale::TOKENS);
    println!("  not seen before                {unseen:>9.0?}");
    println!("  seen before                    {seen:>9.0?}");
    println!("  seen, after a rotation         {rotated:>9.0?}");
    println!("one revocation");
    println!("  of the first 200               {first_revocations:>9.0?}");
    println!("  on top of {:>7}              {later_revocations:>9.0?}", scale::REVOKED);
}

criterion_group!(benches, criterion_cases);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    table();
}
