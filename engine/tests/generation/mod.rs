//! What tests of the engine thread share.

use slm_engine::{Finish, StepResult};
use tokio::sync::mpsc::Receiver;

/// All tokens of a generation, and its end.
pub(crate) fn collect(mut results: Receiver<StepResult>) -> (Vec<u32>, Finish) {
    let mut tokens = vec![];
    loop {
        match results.blocking_recv().unwrap() {
            StepResult::Prompt(_) => {}
            StepResult::Token { token, .. } => tokens.push(token),
            StepResult::Finished(finish) => return (tokens, finish),
            StepResult::Failed(why) => panic!("{why}"),
        }
    }
}
