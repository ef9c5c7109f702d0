//! Rows as a table.

use serde_json::Value;

/// The table, and a note for each row that has one.
pub(crate) fn table(rows: &[Value]) -> String {
    let mut sorted: Vec<&Value> = rows.iter().collect();
    sorted.sort_by_key(|row| order(row["row"].as_str().unwrap_or_default()));
    let heads =
        ["row", "what", "ours", "peer", "ratio (min to max)", "quiet (disturbed)", "must", "goal", "verdict"];
    let mut lines: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    let mut notes = String::new();
    for row in sorted {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let what = format!("{} [{}]", text("what"), text("unit"));
        lines.push(vec![
            text("row"),
            what,
            figure(&row["ours"]),
            figure(&row["peer"]),
            ratio(&row["ratio"]),
            quiet(&row["quiet"]),
            text("must"),
            text("goal"),
            text("verdict"),
        ]);
        let peer = row["peer_name"].as_str().map(|name| format!("against {name}. ")).unwrap_or_default();
        let note = format!("{peer}{}", text("note"));
        if !note.is_empty() {
            notes.push_str(&format!("  {} {}: {note}\n", text("row"), text("what")));
        }
    }
    format!("{}\n{notes}", aligned(&lines))
}

/// `P3` before `P12`, other names behind.
fn order(row: &str) -> (u32, String) {
    let number = row.strip_prefix('P').and_then(|n| n.parse().ok());
    (number.unwrap_or(u32::MAX), row.to_owned())
}

fn figure(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return "-".into() };
    match value.abs() {
        n if n >= 10_000.0 => format!("{value:.0}"),
        n if n >= 10.0 || n.fract() == 0.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.3}"),
    }
}

fn ratio(value: &Value) -> String {
    let part = |key: &str| value[key].as_f64();
    match (part("median"), part("min"), part("max")) {
        (Some(median), Some(min), Some(max)) if min == max => format!("{median:.2}x"),
        (Some(median), Some(min), Some(max)) => format!("{median:.2}x ({min:.2} to {max:.2})"),
        _ => "-".into(),
    }
}

/// `1.80x (3 of 49)`.
fn quiet(value: &Value) -> String {
    match (value["ratio"].as_f64(), value["disturbed"].as_u64(), value["rounds"].as_u64()) {
        (Some(ratio), Some(disturbed), Some(rounds)) => format!("{ratio:.2}x ({disturbed} of {rounds})"),
        _ => "-".into(),
    }
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let figures = (2..4).contains(&column);
            let padded = if figures { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            text.push_str(&padded);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_stand_in_order_and_say_why_they_are_empty() {
        let rows = [
            json!({"row": "P12", "what": "w", "ours": null, "unit": "ms", "peer": null, "peer_name": null, "ratio": null,
                   "must": "<= 5 ms", "goal": "<= 2 ms", "verdict": "not measured", "note": "no root"}),
            json!({"row": "P3", "what": "v", "ours": 80.25, "unit": "cycles", "peer": 40.0, "peer_name": "p",
                   "ratio": {"min": 1.9, "median": 2.0, "max": 2.1},
                   "quiet": {"ratio": 1.85, "disturbed": 3, "rounds": 49}, "must": "<= 3x", "goal": "<= 2.2x",
                   "verdict": "goal", "note": ""}),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("row"));
        assert!(lines[1].starts_with("P3 ") && lines[1].ends_with("goal"), "{text}");
        assert!(
            lines[1].contains("2.00x (1.90 to 2.10)  1.85x (3 of 49)") && lines[1].contains("80.2"),
            "{text}"
        );
        assert!(lines[2].starts_with("P12") && lines[2].ends_with("not measured"));
        assert!(text.contains("P12 w: no root") && text.contains("against p."));
    }
}
