//! Which texts share a run.

/// The runs of texts of these lengths in tokens: texts of equal length first, then neighbours in length, as many as
/// `budget` tokens hold, padding included. A longer text runs alone, and so does every text without `company`.
pub(crate) fn plan(lengths: &[usize], budget: usize, company: bool) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    if !company {
        return order.into_iter().map(|text| vec![text]).collect();
    }
    order.sort_by_key(|text| lengths[*text]);
    let mut runs: Vec<Vec<usize>> = Vec::new();
    for text in order {
        // Sorted, so the last text is the longest of its run.
        let fits = |run: &&mut Vec<usize>| (run.len() + 1).saturating_mul(lengths[text]) <= budget;
        match runs.last_mut().filter(fits) {
            Some(run) => run.push(text),
            None => runs.push(vec![text]),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_filled_with_neighbours_in_length() {
        let lengths = [60, 3, 200, 64, 4, 3];
        let runs = plan(&lengths, 128, true);
        assert_eq!(runs, [vec![1, 5, 4], vec![0, 3], vec![2]]);
        assert_eq!(plan(&lengths, 8, true)[0], [1, 5]);
        let alone = plan(&lengths, 128, false);
        assert!(alone.iter().all(|run| run.len() == 1) && alone.len() == 6);
        assert!(plan(&[], 128, true).is_empty());
    }

    #[test]
    fn every_text_is_in_one_run_and_no_run_is_too_long() {
        let mut length = 1;
        let lengths = std::iter::repeat_with(|| {
            length = length * 31 % 257;
            length
        });
        let lengths: Vec<usize> = lengths.take(500).collect();
        let runs = plan(&lengths, 128, true);
        let mut seen: Vec<usize> = runs.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..500));
        for run in runs {
            let longest = run.iter().map(|text| lengths[*text]).max().unwrap_or(0);
            assert!(run.len() == 1 || run.len() * longest <= 128);
        }
    }
}
