//! How many of the texts that wait the next run takes: where few wait, so many that all sessions end at about the same time.
//!
//! Sixteen texts of which six fit into a run would be computed as 6 and 4 by one session while the other computes 6 and then
//! waits; as four runs of four they are done a fifth earlier.

use std::time::Instant;

/// Where each session has more runs before it than these, it takes runs as large as they may be.
const FEW_RUNS: usize = 2;

/// What the thread of a session is doing.
enum Work {
    Tokenizing { texts: usize },
    Running { slots: usize, since: Instant },
}

/// What the threads of a model's sessions are doing.
#[derive(Default)]
pub(super) struct Sessions {
    work: Vec<Option<Work>>,
    /// How long a slot took in the run that ended last; zero before the first one ends.
    seconds_per_slot: f64,
}

/// What waits for a run.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Waiting {
    /// Tokens of the texts that are ready.
    pub(super) tokens: usize,
    /// Texts that are not tokenized yet.
    pub(super) texts: usize,
}

impl Sessions {
    /// The number of one session more.
    pub(super) fn add(&mut self) -> usize {
        self.work.push(None);
        self.work.len() - 1
    }

    /// A session tokenizes so many texts from now on.
    pub(super) fn tokenize(&mut self, session: usize, texts: usize) {
        self.begin(session, Work::Tokenizing { texts });
    }

    /// A session is in a run of so many tokens, padding included, from now on.
    pub(super) fn run(&mut self, session: usize, slots: usize) {
        let since = Instant::now();
        self.begin(session, Work::Running { slots, since });
    }

    fn begin(&mut self, session: usize, work: Work) {
        if let Some(place) = self.work.get_mut(session) {
            *place = Some(work);
        }
    }

    /// A session has ended its work.
    pub(super) fn end(&mut self, session: usize) {
        let ended = self.work.get_mut(session).and_then(Option::take);
        if let Some(Work::Running { slots, since }) = ended {
            self.seconds_per_slot = since.elapsed().as_secs_f64() / slots.max(1) as f64;
        }
    }

    /// How many tokens the next run takes, padding included, and at most `most`. Its first text has `length` tokens, and no
    /// longer counts as waiting.
    pub(super) fn share(&self, most: usize, length: usize, waiting: Waiting) -> usize {
        let sessions = self.work.len();
        if sessions < 2 {
            return most;
        }
        let mut tokens = length + waiting.tokens + waiting.texts * length;
        for work in self.work.iter().flatten() {
            tokens += match work {
                Work::Tokenizing { texts } => texts * length,
                Work::Running { slots, since } => self.left(*slots, *since),
            };
        }
        let runs = tokens.div_ceil(sessions * most.max(1));
        match runs <= FEW_RUNS {
            // To the nearest number of texts.
            true => (tokens / (sessions * runs.max(1)) + length / 2).min(most),
            false => most,
        }
    }

    /// The slots that a run has still before it.
    fn left(&self, slots: usize, since: Instant) -> usize {
        match self.seconds_per_slot > 0.0 {
            true => slots
                .saturating_sub((since.elapsed().as_secs_f64() / self.seconds_per_slot) as usize),
            false => slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(count: usize) -> Sessions {
        let mut sessions = Sessions::default();
        for number in 0..count {
            assert_eq!(sessions.add(), number);
        }
        sessions
    }

    fn share(sessions: &Sessions, texts: usize) -> usize {
        let waiting = Waiting {
            tokens: texts * 20,
            texts: 0,
        };
        sessions.share(128, 20, waiting) / 20
    }

    #[test]
    fn few_texts_are_shared_out_evenly() {
        let mut sessions = with(2);
        // The first text of the run does not count as waiting.
        for (texts, expected) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (8, 4),
            (12, 6),
            (16, 4),
            (24, 6),
            (40, 6),
        ] {
            assert_eq!(share(&sessions, texts - 1), expected, "{texts} texts");
        }
        // The other session has begun four texts of sixteen.
        sessions.run(0, 80);
        assert_eq!(share(&sessions, 11), 4);
        // As long as they are not ready, texts count as much as the first one.
        let waiting = Waiting {
            tokens: 0,
            texts: 7,
        };
        sessions.end(0);
        assert_eq!(sessions.share(128, 20, waiting), 90);
        sessions.tokenize(1, 8);
        assert_eq!(sessions.share(128, 20, waiting), 90);
        assert_eq!(with(1).share(128, 20, waiting), 128);
    }

    #[test]
    fn what_a_run_has_still_before_it_counts() {
        let mut sessions = with(2);
        sessions.run(0, 80);
        assert_eq!(share(&sessions, 3), 4);
        // It takes no time, as far as is known.
        sessions.seconds_per_slot = 1e-12;
        assert_eq!(share(&sessions, 3), 2);
    }
}
