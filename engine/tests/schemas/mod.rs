//! JSON schemas made at random from a seed: every kind of value, bounded so that an answer may come to its end.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Levels of arrays and objects.
const MAX_LEVELS: usize = 3;

/// Schema number `seed`.
pub(crate) fn schema(seed: u64) -> Value {
    let mut random = Rng::with_seed(seed);
    let n_definitions = random.usize(0..3);
    let names: Vec<String> = (0..n_definitions).map(|i| format!("d{i}")).collect();
    let mut schema = object(&mut random, MAX_LEVELS, &names);
    let definitions = names.iter().enumerate().map(|(i, name)| {
        // each refers to those before it, and ends
        (name.clone(), value(&mut random, 1, &names[..i]))
    });
    let definitions: Map<String, Value> = definitions.collect();
    if !definitions.is_empty() {
        schema["$defs"] = Value::Object(definitions);
    }
    schema
}

fn value(random: &mut Rng, levels: usize, names: &[String]) -> Value {
    match random.u32(0..if levels > 0 { 13 } else { 9 }) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": ["null", "boolean"]}),
        2 | 3 => integer(random),
        4 => number(random),
        5 => string(random),
        6 => json!({"enum": choices(random)}),
        7 => json!({"const": choices(random)[0]}),
        8 => match random.choice(names) {
            Some(name) => json!({"$ref": format!("#/$defs/{name}")}),
            None => json!({"type": "null"}),
        },
        9 => array(random, levels - 1, names),
        10 => {
            let options: Vec<Value> = (0..random.usize(2..4))
                .map(|_| value(random, levels - 1, names))
                .collect();
            json!({"anyOf": options})
        }
        _ => object(random, levels - 1, names),
    }
}

fn integer(random: &mut Rng) -> Value {
    let least = random.i64(-1000..1000);
    match random.u32(0..4) {
        0 => json!({"type": "integer", "minimum": least, "maximum": least + random.i64(0..5000)}),
        1 => {
            json!({"type": "integer", "exclusiveMinimum": least, "exclusiveMaximum": least + 2 + random.i64(0..50)})
        }
        2 => json!({"type": "integer", "minimum": 0, "maximum": random.i64(0..20)}),
        _ => {
            json!({"type": "integer", "minimum": -100_000, "maximum": 100_000, "multipleOf": random.i64(1..4)})
        }
    }
}

fn number(random: &mut Rng) -> Value {
    let least = f64::from(random.i32(-100..100)) / 4.0;
    json!({"type": "number", "minimum": least, "maximum": least + f64::from(random.i32(1..100))})
}

fn string(random: &mut Rng) -> Value {
    const PATTERNS: [&str; 6] = [
        "^[a-z]{1,8}$",
        "^(ab|c)+d?$",
        "^[A-Z][0-9]{3}-[0-9]{2}$",
        "^\\d{4}$",
        "^[^\"]{2,5}$",
        "x[yz]{1,3}$",
    ];
    const FORMATS: [&str; 6] = ["date", "time", "date-time", "uuid", "ipv4", "email"];
    let least = random.usize(0..4);
    match random.u32(0..4) {
        0 => json!({"type": "string", "pattern": PATTERNS[random.usize(..PATTERNS.len())]}),
        1 => json!({"type": "string", "format": FORMATS[random.usize(..FORMATS.len())]}),
        2 => json!({"type": "string", "minLength": least, "maxLength": least + random.usize(0..9)}),
        _ => json!({"type": "string", "maxLength": random.usize(1..30)}),
    }
}

fn choices(random: &mut Rng) -> Vec<Value> {
    let mut all = vec![
        json!("red"),
        json!("grün \"und\" blau\\"),
        json!(""),
        json!(0),
        json!(-17),
        json!(2.5),
        json!(true),
        json!(null),
        json!([1, "two"]),
        json!({"k": [false]}),
        json!("\n\t日本"),
    ];
    random.shuffle(&mut all);
    all.truncate(random.usize(1..5));
    all
}

fn array(random: &mut Rng, levels: usize, names: &[String]) -> Value {
    let least = random.usize(0..3);
    let mut schema = json!({
        "type": "array", "items": value(random, levels, names),
        "minItems": least, "maxItems": least + random.usize(0..3)
    });
    if random.u32(0..4) == 0 {
        schema["prefixItems"] = json!([integer(random), {"type": "boolean"}]);
        schema["maxItems"] = json!(4);
    }
    schema
}

fn object(random: &mut Rng, levels: usize, names: &[String]) -> Value {
    const KEYS: [&str; 8] = ["id", "name", "größe", "a b", "x\"y", "list", "of", "z"];
    let mut keys = KEYS.to_vec();
    random.shuffle(&mut keys);
    keys.truncate(random.usize(0..5));
    let mut properties = Map::new();
    for key in &keys {
        properties.insert((*key).to_owned(), value(random, levels, names));
    }
    keys.retain(|_| random.bool());
    json!({
        "type": "object", "properties": properties, "required": keys, "additionalProperties": false
    })
}
