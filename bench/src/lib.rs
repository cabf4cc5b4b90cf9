//! What the load generators share.

pub mod offload;

/// User and system time of a process and its children, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0.0 };
    let mut ticks = 0.0;
    for entry in entries.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let own = head.split_whitespace().next().and_then(|p| p.parse::<u32>().ok());
        let parent = fields.get(1).and_then(|p| p.parse::<u32>().ok());
        if own == Some(pid) || parent == Some(pid) {
            ticks += fields[11].parse::<f64>().unwrap_or(0.0) + fields[12].parse::<f64>().unwrap_or(0.0);
        }
    }
    ticks / 100.0
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// User and system time of a process and of those of its children that have ended, in seconds.
pub fn cpu_seconds_with_ended_children(pid: u32) -> f64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let Some((_, tail)) = stat.rsplit_once(')') else { return 0.0 };
    let times = tail.split_whitespace().skip(11).take(4);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
