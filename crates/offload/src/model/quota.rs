//! How much one person may have at once: pods that are alive (waiting or running), and what they ask for together.

/// What pods ask for, or may ask for, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub pods: u64,
    pub cpu_millis: u64,
    pub memory_bytes: u64,
}

impl Amounts {
    pub fn plus(self, more: Amounts) -> Amounts {
        Amounts {
            pods: self.pods.saturating_add(more.pods),
            cpu_millis: self.cpu_millis.saturating_add(more.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(more.memory_bytes),
        }
    }

    pub fn minus(self, less: Amounts) -> Amounts {
        Amounts {
            pods: self.pods.saturating_sub(less.pods),
            cpu_millis: self.cpu_millis.saturating_sub(less.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(less.memory_bytes),
        }
    }

    /// Why somebody who has this cannot have `more`; it names the limit.
    pub fn refusal(self, more: Amounts, most: Amounts) -> Option<String> {
        let after = self.plus(more);
        let text = |limit: &str, most: String, has: String, asked: String| {
            format!(
                "your pods that wait or run would be more than one person may have: [offload] {limit} is {most}, you have {has} \
                 and ask for {asked}; wait until some have ended, or delete some"
            )
        };
        let cores = |millis: u64| format!("{}", millis as f64 / 1e3);
        if after.pods > most.pods {
            return Some(text("most_pods", most.pods.to_string(), self.pods.to_string(), more.pods.to_string()));
        }
        if after.cpu_millis > most.cpu_millis {
            let (most, has, more) = (cores(most.cpu_millis), cores(self.cpu_millis), cores(more.cpu_millis));
            return Some(text("most_cores", most, has, more));
        }
        if after.memory_bytes > most.memory_bytes {
            let bytes = |bytes: u64| format!("{bytes} bytes");
            let (most, has, more) = (bytes(most.memory_bytes), bytes(self.memory_bytes), bytes(more.memory_bytes));
            return Some(text("most_memory", most, has, more));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named_and_may_be_reached() {
        let most = Amounts { pods: 2, cpu_millis: 1_500, memory_bytes: 10 };
        let one = Amounts { pods: 1, cpu_millis: 750, memory_bytes: 5 };
        assert_eq!(one.refusal(one, most), None);
        let two = one.plus(one);
        assert!(two.refusal(one, most).is_some_and(|why| why.contains("most_pods is 2, you have 2 and ask for 1")));
        let cores = one.refusal(Amounts { cpu_millis: 751, ..one }, most);
        assert!(cores.is_some_and(|why| why.contains("most_cores is 1.5, you have 0.75 and ask for 0.751")));
        let memory = one.refusal(Amounts { memory_bytes: u64::MAX, ..one }, most);
        assert!(memory.is_some_and(|why| why.contains("most_memory is 10 bytes")));
        assert_eq!(two.minus(one).minus(two), Amounts::default());
    }
}
