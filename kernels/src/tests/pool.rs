//! The thread pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{Compute, available_threads};

#[track_caller]
fn check_covers(compute: &Compute, n_items: usize, grain: usize) {
    let counts: Vec<AtomicUsize> = (0..n_items).map(|_| AtomicUsize::new(0)).collect();
    compute.parallel_for(n_items, grain, &|range| {
        assert!(range.len() >= grain || range.end == n_items);
        for count in &counts[range] {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(
        counts
            .iter()
            .all(|count| count.load(Ordering::Relaxed) == 1),
        "{n_items} by {grain}"
    );
}

#[test]
fn every_item_is_done_once() {
    // More threads than any machine of a test has: they must not wait for one another.
    for n_threads in [1, 2, 3, 16] {
        let compute = Compute::new(n_threads, None).unwrap();
        assert_eq!(compute.n_threads(), n_threads);
        for n_items in [0, 1, 2, 3, 7, 100, 1000] {
            for grain in [0, 1, 3, 64, 5000] {
                check_covers(&compute, n_items, grain);
            }
        }
        for _ in 0..2000 {
            check_covers(&compute, 5, 1);
        }
    }
}

#[test]
fn sleeping_threads_wake_up() {
    let compute = Compute::new(3, None).unwrap();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(2));
        check_covers(&compute, 50, 1);
    }
}

#[test]
fn threads_that_are_not_wanted_sleep_until_they_are() {
    let compute = Compute::new(4, None).unwrap().with_narrow(2);
    let n_taking_part = |compute: &Compute| {
        let names = std::sync::Mutex::new(std::collections::HashSet::new());
        compute.parallel_for(64, 1, &|_| {
            names.lock().unwrap().insert(std::thread::current().id());
            std::thread::sleep(Duration::from_micros(200));
        });
        names.into_inner().unwrap().len()
    };
    for _ in 0..20 {
        compute.prepare(1);
        assert!(n_taking_part(&compute) <= 2);
        check_covers(&compute, 100, 1);
        compute.prepare(9);
        check_covers(&compute, 100, 1);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while n_taking_part(&compute) < 4 {
        assert!(Instant::now() < deadline, "they sleep on");
    }
    // also when they end while they sleep
    compute.prepare(1);
}

#[test]
fn several_threads_take_part() {
    let compute = Compute::new(2, None).unwrap();
    let names = std::sync::Mutex::new(std::collections::HashSet::new());
    // An item that waits for another to be taken by somebody else, for as long as that takes.
    let taken = AtomicUsize::new(0);
    compute.parallel_for(2, 1, &|_| {
        names
            .lock()
            .unwrap()
            .insert(std::thread::current().name().map(str::to_owned));
        taken.fetch_add(1, Ordering::SeqCst);
        while taken.load(Ordering::SeqCst) < 2 {
            std::thread::yield_now();
        }
    });
    assert!(
        names
            .lock()
            .unwrap()
            .contains(&Some("slm-compute-1".to_owned()))
    );
}

#[test]
fn panics_reach_the_caller_and_the_pool_lives_on() {
    let compute = Compute::new(3, None).unwrap();
    for bad in [0, 17, 99] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            compute.parallel_for(100, 1, &|range| {
                assert!(!range.contains(&bad), "item {bad}")
            });
        }));
        let panic = result.unwrap_err();
        assert_eq!(panic.downcast_ref::<String>(), Some(&format!("item {bad}")));
        check_covers(&compute, 100, 1);
    }
}

#[test]
fn a_region_within_a_region_is_run_in_place() {
    let compute = Compute::new(2, None).unwrap();
    let count = AtomicUsize::new(0);
    compute.parallel_for(8, 1, &|outer| {
        for _ in outer {
            compute.parallel_for(8, 1, &|inner| {
                count.fetch_add(inner.len(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 64);
}

#[test]
fn callers_take_turns() {
    let compute = Compute::new(2, None).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    check_covers(&compute, 20, 1);
                }
            });
        }
    });
}

#[test]
fn pools_come_and_go() {
    for _ in 0..50 {
        check_covers(&Compute::new(3, None).unwrap(), 9, 1);
    }
    assert!(available_threads() >= 1);
}

/// A thread that holds a region up for longer than a stall is left out of the next regions, which are whole all the same.
#[test]
fn a_thread_that_holds_a_region_up_rests() {
    let compute = Compute::new(2, None).unwrap();
    let caller = std::thread::current().id();
    let is_caller = || std::thread::current().id() == caller;
    let others_items = |pause: Duration| {
        let (n_items, n_others) = (AtomicUsize::new(0), AtomicUsize::new(0));
        compute.parallel_for(64, 1, &|range| {
            n_items.fetch_add(range.len(), Ordering::Relaxed);
            if !is_caller() {
                n_others.fetch_add(range.len(), Ordering::Relaxed);
                std::thread::sleep(pause);
            } else {
                // Long enough for the other thread to take a share.
                std::thread::sleep(Duration::from_micros(20));
            }
        });
        assert_eq!(n_items.into_inner(), 64);
        n_others.into_inner()
    };
    // Whether the other thread rested after it had held a region up; nothing can be said on a machine so busy that the
    // rest was over by then.
    let rested = || {
        // It may come late to a region; it must hold one up before it can rest.
        let has_stalled = (0..1000).any(|_| others_items(Duration::from_millis(30)) > 0);
        assert!(has_stalled, "the other thread never took a share");
        let since = Instant::now();
        let n_others = others_items(Duration::ZERO);
        (since.elapsed() < Duration::from_millis(3)).then_some(n_others == 0)
    };
    // Where the caller loses its core just then, it does not see that it was held up, so that most must do.
    let said: Vec<bool> = (0..9).filter_map(|_| rested()).collect();
    let n_rested = said.iter().filter(|rested| **rested).count();
    assert!(
        2 * n_rested >= said.len(),
        "it rested {n_rested} of {} times",
        said.len()
    );
}
