fn main() {
    for bug in sim::Bug::ALL {
        let mut kinds = std::collections::BTreeMap::<String, u64>::new();
        let mut n = 0;
        for seed in 0..3000 {
            let s = sim::run(sim::Options { seeds: 1, first: seed, bug: Some(bug), stop_at_first: false }, &mut |_| {});
            if let Some(v) = s.first_violation {
                n += 1;
                let t: String = v
                    .what
                    .split(": ")
                    .skip(1)
                    .collect::<Vec<_>>()
                    .join(": ")
                    .chars()
                    .map(|c| if c.is_ascii_digit() { '#' } else { c })
                    .take(90)
                    .collect();
                *kinds.entry(t.split(" s: ").last().unwrap_or_default().to_string()).or_default() += 1;
            }
        }
        println!("{bug}: {n}");
        let mut k: Vec<_> = kinds.into_iter().collect();
        k.sort_by_key(|k| std::cmp::Reverse(k.1));
        for (k, n) in k.into_iter().take(7) {
            println!("   {n:>5} {k}");
        }
    }
}
