//! How an error becomes the words that a person reads and the code that a script reads.
//!
//! The message is the chain of causes in one line, each said once; the hint is the first one in the chain.

use slm_api::ClientError;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Done,
    /// It failed, and that has been said.
    Failed,
    /// The person interrupted it.
    Interrupted,
}

impl Exit {
    /// The exit code. Wrong usage (2) is the argument parser's to report.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Interrupted => 130,
        }
    }
}

/// Something went wrong, and this is what can be done about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Advice {
    message: String,
    hint: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Advice {
    /// An error with a hint, one imperative sentence.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
            source: None,
        }
    }

    /// The same with its cause. (As an `anyhow` context it could not be found again.)
    pub(crate) fn because(
        self,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(cause.into()),
            ..self
        }
    }
}

/// Message and hint.
pub(crate) fn describe(error: &anyhow::Error) -> (String, Option<String>) {
    let mut parts: Vec<String> = Vec::new();
    let mut hint = None;
    let mut is_in_client = false;
    for cause in error.chain() {
        // Between a failed call and its root stand the layers of the HTTP client, which tell a person nothing.
        if is_in_client && cause.source().is_some() {
            continue;
        }
        is_in_client |= cause.is::<ClientError>();
        let text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !parts.last().is_some_and(|last| last.contains(&text)) {
            parts.push(text);
        }
        if hint.is_none() {
            hint = match (
                cause.downcast_ref::<Advice>(),
                cause.downcast_ref::<ClientError>(),
            ) {
                (Some(advice), _) => Some(advice.hint.clone()),
                (_, Some(error)) => error.hint(),
                _ => None,
            };
        }
    }
    (parts.join(": "), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_and_in_order() {
        let error = anyhow::anyhow!("disk full")
            .context("cannot write `x`: disk full")
            .context("create failed");
        assert_eq!(
            describe(&error),
            (
                "create failed: cannot write `x`: disk full".to_owned(),
                None
            )
        );
    }

    #[test]
    fn the_hint_of_any_cause_is_found() {
        let busy = ClientError::Status {
            status: 503,
            message: "server busy".to_owned(),
        };
        let (message, hint) = describe(&anyhow::Error::new(busy).context("cannot load"));
        assert_eq!(message, "cannot load: server busy");
        assert_eq!(
            hint.as_deref(),
            Some("the daemon is busy: try again in a moment")
        );

        let advice = Advice::new("model `x` is unknown", "run `slm list`");
        let advice = advice.because(anyhow::anyhow!("no such name"));
        let (message, hint) = describe(&anyhow::Error::new(advice).context("cannot chat"));
        assert_eq!(message, "cannot chat: model `x` is unknown: no such name");
        assert_eq!(hint.as_deref(), Some("run `slm list`"));
    }

    #[test]
    fn of_a_failed_call_only_the_root_is_said() {
        let root = anyhow::anyhow!("connection refused");
        let layers = root.context("tcp connect error").context("client error");
        let failed = ClientError::ReadFile {
            path: "x".into(),
            source: std::io::Error::other(Box::<dyn std::error::Error + Send + Sync>::from(layers)),
        };
        let (message, _) = describe(&anyhow::Error::new(failed).context("cannot send"));
        assert_eq!(message, "cannot send: cannot read `x`: connection refused");
    }

    #[test]
    fn codes() {
        let codes = [Exit::Done, Exit::Failed, Exit::Interrupted].map(Exit::code);
        assert_eq!(codes, [0, 1, 130]);
    }
}
