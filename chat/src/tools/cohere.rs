//! Command R: `<|START_ACTION|>[{"tool_name": …, "parameters": {…}}]<|END_ACTION|>`.
use super::{Body, Region, Tools, families::Family};

pub(super) const FAMILY: Family = Family {
    name: "cohere",
    opens: &["<|START_ACTION|>"],
    starts: &[],
    inner: &["<|END_ACTION|>"],
    closers: &['>'],
    body,
};

fn body(region: Region<'_>, tools: &Tools) -> Body {
    let Some((json, len)) = region.until("<|END_ACTION|>") else {
        return Body::More;
    };
    let value = serde_json::from_str(json).ok();
    match value.and_then(|value| tools.calls_in(&value)) {
        Some(calls) => Body::Calls(calls, len),
        None => Body::Text,
    }
}
