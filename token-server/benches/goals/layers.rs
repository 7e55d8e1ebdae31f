//! The two layers: what verifying and attaching cost by themselves, and what verifying costs a server that echoes.

use std::time::Duration;

use crate::{
    attach_case, floor,
    load::{self, Face},
    report::Row,
    verify_case,
};

const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(700);

pub(crate) fn verify() -> Vec<Row> {
    let verify_case::Figures { bare, new_token, whole_layer, .. } = verify_case::Figures::measure();
    let ratio = new_token.as_secs_f64() / bare.as_secs_f64();
    let mut rows = vec![
        Row::floor("floor: ES256 verification, bare", format!("{:.1} µs", bare.as_secs_f64() * 1e6)),
        Row::goal("verify, token new", "≤ 1.05 × the bare verification", format!("{ratio:.3} ×"), ratio <= 1.05),
        Row::goal(
            "verify, token seen before, the whole layer",
            "≤ 250 ns",
            format!("{:.0} ns", whole_layer.as_secs_f64() * 1e9),
            whole_layer <= Duration::from_nanos(250),
        ),
    ];
    rows.push(share_of_echo());
    rows
}

/// The same echo for the same calls, with and without the layer.
fn share_of_echo() -> Row {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let protected = floor::start(&["protected", file.to_str().unwrap()]);
    let echo = floor::start(&["echo"]);
    let bearer = format!("Bearer {}", std::fs::read_to_string(&file).unwrap()).parse().unwrap();
    let face = Face::GrpcBearer(bearer);
    let measured = load::rounds(&[(face.clone(), &echo), (face, &protected)], ROUNDS, DURATION);
    let [without, with] = measured.as_slice() else { unreachable!("two cases") };
    let share = (1.0 - without.cpu_micros / with.cpu_micros) * 100.0;
    Row::goal(
        "… of an echo's throughput, by CPU time",
        "≤ 3 %",
        format!("{share:.1} % ({:.2} µs without, {:.2} µs with the layer)", without.cpu_micros, with.cpu_micros),
        share <= 3.0,
    )
}

pub(crate) fn attach() -> Vec<Row> {
    let attach_case::Figures { floor, attached, whole_layer, .. } = attach_case::Figures::measure();
    let nanos = |time: Duration| time.as_secs_f64() * 1e9;
    vec![
        Row::floor("floor: snapshot load and header clone", format!("{:.0} ns", nanos(floor))),
        Row::goal(
            "attach, token in hand",
            "≤ 100 ns",
            format!("{:.0} ns; the whole layer, ready to replay, {:.0} ns", nanos(attached), nanos(whole_layer)),
            attached <= Duration::from_nanos(100),
        ),
    ]
}
