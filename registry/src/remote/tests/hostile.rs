//! Servers at their worst: whatever they do, a pull ends whole or with one clear error, and soon.
use super::{super::*, Fault, Home, IN_PARTS, bytes};

/// Longer than any of these pulls may take.
const SOON: Duration = Duration::from_secs(60);

const HOSTILE: Patience = Patience {
    stall: Duration::from_millis(60),
    ..IN_PARTS
};

/// Every request fails in that way, or as the number of requests before it says.
async fn check(what: &str, always: fn(usize) -> Fault, expected: Expected) {
    let home = Home::new().await;
    let (name, manifest) = home.registry.offer("m", &[&bytes(50, 800_000)]);
    home.registry.content().always = Some(always);
    let pulled = tokio::time::timeout(SOON, home.pull_with(&name, HOSTILE)).await;
    let pulled = pulled.unwrap_or_else(|_| panic!("{what}: it goes on for ever"));
    match (pulled, expected) {
        (Ok(_), Expected::Whole) => home.check_whole(&name, &manifest),
        (Err(error), Expected::Error(part)) => {
            let text = error.to_string();
            assert!(text.contains(part), "{what}: {text}");
            assert!(error.hint().is_some());
            home.check_nothing();
            // No harm was done that lasts.
            home.registry.content().always = None;
            home.pull(&name).await.unwrap();
            home.check_whole(&name, &manifest);
        }
        (pulled, _) => panic!("{what}: {pulled:?}"),
    }
}

enum Expected {
    Whole,
    Error(&'static str),
}
use Expected::{Error as Fails, Whole};

#[tokio::test]
async fn every_nth_request_goes_wrong() {
    check("drops", |n| nth(n, Fault::Truncate(10_000)), Whole).await;
    check("stalls", |n| nth(n, Fault::Stall(20_000)), Whole).await;
    check("500", |n| nth(n, Fault::Status(500)), Whole).await;
    check("429", |n| nth(n, Fault::RetryAfter(429, "0".into())), Whole).await;
    check("408", |n| nth(n, Fault::Status(408)), Whole).await;
    check("ignores", |n| nth(n, Fault::IgnoreRange), Whole).await;
}

fn nth(n: usize, fault: Fault) -> Fault {
    if n % 3 == 1 { fault } else { Fault::None }
}

#[tokio::test]
async fn every_request_goes_wrong_and_something_comes() {
    check("drops", |_| Fault::Truncate(70_000), Whole).await;
    check("stalls", |_| Fault::Stall(70_000), Whole).await;
    check(
        "drops early",
        |_| Fault::Truncate(5_000),
        Fails("max retries"),
    )
    .await;
    check(
        "stalls early",
        |_| Fault::Stall(5_000),
        Fails("no byte came"),
    )
    .await;
    check(
        "lies",
        |_| Fault::PromiseMore(1000),
        Fails("has 1020 bytes"),
    )
    .await;
    check("trickles", |_| Fault::Trickle(0), Whole).await;
    check(
        "next to nothing",
        |_| Fault::AtMost(10),
        Fails("ended too early"),
    )
    .await;
}

#[tokio::test]
async fn every_request_goes_wrong_and_nothing_comes() {
    check("drops", |_| Fault::Truncate(0), Fails("max retries")).await;
    check("stalls", |_| Fault::Stall(0), Fails("no byte came")).await;
    check("500", |_| Fault::Status(500), Fails("500")).await;
    check("429", |_| Fault::Status(429), Fails("429")).await;
    check("403", |_| Fault::Status(403), Fails("403")).await;
    check("404", |_| Fault::Status(404), Fails("404")).await;
    check("401", |_| Fault::Status(401), Fails("unauthorized")).await;
    check("too long", |_| Fault::TooLong, Fails("not its 20")).await;
    check("corrupt", |_| Fault::Corrupt, Fails("digest mismatch")).await;
    check("wrong", |_| Fault::WrongRange, Whole).await;
    check(
        "loops",
        |_| Fault::Redirect("/loop".into()),
        Fails("redirects"),
    )
    .await;
}

/// Faults in random order, so many that some pulls fail: those that succeed are whole, and after all the next one is.
#[tokio::test]
async fn faults_in_any_order() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..30 {
        let home = Home::new().await;
        let (name, manifest) = home.registry.offer("m", &[&bytes(51, 500_000), b"small"]);
        let faults: Vec<Fault> = (0..random.usize(..30))
            .map(|_| match random.u8(..12) {
                0 => Fault::Status(*random.choice(&[500, 502, 503, 429, 408]).unwrap()),
                1 => Fault::Truncate(random.usize(..100_000)),
                2 => Fault::Stall(random.usize(..100_000)),
                3 => Fault::Corrupt,
                4 => Fault::TooLong,
                5 => Fault::IgnoreRange,
                6 => Fault::WrongRange,
                7 => Fault::PromiseMore(random.usize(1..9)),
                8 => Fault::AtMost(random.usize(1..200_000)),
                9 => Fault::RetryAfter(503, "0".into()),
                _ => Fault::None,
            })
            .collect();
        home.registry.fail(faults.clone());
        let pulled = tokio::time::timeout(SOON, home.pull_with(&name, HOSTILE)).await;
        match pulled.unwrap_or_else(|_| panic!("seed {seed}: {faults:?} take for ever")) {
            Ok(_) => home.check_whole(&name, &manifest),
            Err(error) => {
                assert!(error.hint().is_some(), "{error}");
                home.check_nothing();
            }
        }
        home.registry.content().faults.clear();
        let pulled = home.pull_with(&name, HOSTILE).await;
        pulled.unwrap_or_else(|error| panic!("seed {seed}: {faults:?}: {error}"));
        home.check_whole(&name, &manifest);
    }
}
