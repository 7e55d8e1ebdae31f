//! The two layers: the cost of verifying and attaching alone, and the cost of verifying in an echo server.

use std::{fs, time::Duration};

use crate::{
    attach_case, floor,
    load::{self, Face, median},
    report::Row,
    streams, verify_case, verify_scale,
};

/// Many short rounds, because the difference is a fortieth of the measured time.
const ROUNDS: usize = 60;
const DURATION: Duration = Duration::from_millis(150);

pub(crate) fn verify() -> Vec<Row> {
    let verify_case::Figures { bare, new_token, whole_layer, refused } = verify_case::Figures::measure();
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
        Row::goal(
            "a call without a token, refused",
            "at most as much as an admission",
            format!("{:.0} ns", refused.as_secs_f64() * 1e9),
            refused <= whole_layer,
        ),
    ];
    rows.push(share_of_echo());
    rows
}

/// The events of a large service: a rotation with a full cache, many revocations, many open streams.
pub(crate) fn scale() -> Vec<Row> {
    let verify_scale::Figures { unseen, seen, rotated, first_revocations, later_revocations } =
        verify_scale::Figures::measure();
    let nanos = |time: Duration| format!("{:.0} ns", time.as_secs_f64() * 1e9);
    let streams::Figures { timers, guarded } = streams::Figures::measure();
    let core = |time: Duration| format!("{:.2} % of a core", time.as_secs_f64() * 100.0);
    let (tokens, revoked, open) = (verify_scale::TOKENS, verify_scale::REVOKED, streams::STREAMS);
    let (before, after) = (nanos(seen), nanos(rotated));
    vec![
        Row::goal(
            format!("{tokens} tokens seen before, after a rotation that keeps their key"),
            "≤ 2 × before it",
            format!("{after} each; {before} before it; {} unseen", nanos(unseen)),
            rotated <= seen * 2,
        ),
        Row::goal(
            format!("one more revocation on top of {revoked}"),
            "≤ 2 × one of the first 200",
            format!("{}; {}", nanos(later_revocations), nanos(first_revocations)),
            later_revocations <= first_revocations * 2,
        ),
        Row::floor(format!("floor: {open} timers of a second"), core(timers)),
        Row::goal(
            format!("{open} open streams at rest, each looked at once a second"),
            "≤ 2 % of a core",
            core(guarded),
            guarded <= Duration::from_millis(20),
        ),
    ]
}

/// The same echo for the same calls, with and without the layer.
fn share_of_echo() -> Row {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let (token, bare) = (path("token"), path("bare"));
    let with = floor::start(&["protected", &token, &bare]);
    let without = with.beside(fs::read_to_string(bare).unwrap().parse().unwrap());
    let face = Face::GrpcBearer(format!("Bearer {}", fs::read_to_string(token).unwrap()).parse().unwrap());
    let mut measured = Vec::new();
    for round in 0..=ROUNDS {
        let [without, with] = [&without, &with].map(|server| load::run(&face, server, DURATION).cpu_micros);
        if round > 0 {
            measured.push((without, with));
        }
    }
    let share = median(measured.iter().map(|(without, with)| (1.0 - without / with) * 100.0));
    let (without, with) =
        (median(measured.iter().map(|(without, _)| *without)), median(measured.iter().map(|(_, with)| *with)));
    Row::goal(
        "… of an echo's throughput, by CPU time",
        "≤ 3 %",
        format!("{share:.1} % ({without:.2} µs without, {with:.2} µs with the layer)"),
        share <= 3.0,
    )
}

pub(crate) fn attach() -> Vec<Row> {
    let attach_case::Figures { floor, attached, whole_layer, on_behalf, cloned } = attach_case::Figures::measure();
    let nanos = |time: Duration| time.as_secs_f64() * 1e9;
    vec![
        Row::floor("floor: snapshot load and header clone", format!("{:.0} ns", nanos(floor))),
        Row::goal(
            "attach, token in hand",
            "≤ 100 ns",
            format!("{:.0} ns; the whole layer, ready to replay, {:.0} ns", nanos(attached), nanos(whole_layer)),
            attached <= Duration::from_nanos(100),
        ),
        Row::goal(
            "attach on behalf of a caller whose token is in hand, the whole layer",
            "≤ 2 × a token of its own",
            format!("{:.0} ns", nanos(on_behalf)),
            on_behalf <= whole_layer * 2,
        ),
        Row::goal(
            "clone of a client with a policy of 200 methods",
            "≤ 60 ns",
            format!("{:.0} ns", nanos(cloned)),
            cloned <= Duration::from_nanos(60),
        ),
    ]
}
