//! The thread pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
