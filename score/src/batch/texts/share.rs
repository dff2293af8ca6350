//! How many of the texts that wait the next run takes: where few wait, so many that all sessions end at about the same time.
//!
//! Sixteen texts of which six fit into a run would be computed as 6 and 4 by one session while the other computes 6 and then
//! waits; as four runs of four they are done a fifth earlier.

use std::time::Instant;

/// Where each session has more runs before it than these, it takes runs as large as they may be.
const FEW_RUNS: usize = 2;
/// A run costs about as much as so many tokens beside its own, since it reads all weights. With more padding than that, two
/// runs are better than one.
const RUN_TOKENS: usize = 18;
/// How much of it there may be where few texts wait: a run more would have as much again.
const FEW_PADDING: usize = 2 * RUN_TOKENS;

/// What the thread of a session is doing.
enum Work {
    Tokenizing { texts: usize },
    Running { slots: usize, since: Instant },
}

/// What the threads of a model's sessions are doing.
#[derive(Default)]
pub(super) struct Sessions {
    work: Vec<Option<Work>>,
    /// How long a token took in the run that ended last, and each of [`RUN_TOKENS`]; zero before the first one ends.
    seconds_per_token: f64,
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
            self.seconds_per_token = since.elapsed().as_secs_f64() / (slots + RUN_TOKENS) as f64;
        }
    }

    /// What the next run takes, of at most `most` tokens, padding included. Its first text has `length` tokens, and no longer
    /// counts as waiting.
    pub(super) fn share(&self, most: usize, length: usize, waiting: Waiting) -> Share {
        let (mut rest, mut left) = (waiting.tokens + waiting.texts * length, 0);
        let mut others_run = false;
        for work in self.work.iter().flatten() {
            match work {
                Work::Tokenizing { texts } => rest += texts * length,
                Work::Running { slots, since } => {
                    left += self.left(*slots, *since);
                    others_run = true;
                }
            }
        }
        let sessions = self.work.len().max(1);
        let tokens = length + rest + left;
        let aim = match tokens.div_ceil(sessions * most.max(1)) {
            _ if sessions == 1 => Aim::Full,
            0 | 1 => Aim::Together(Others {
                sessions: sessions - 1,
                left,
                next_run: if others_run { RUN_TOKENS } else { 0 },
            }),
            runs if runs <= FEW_RUNS => Aim::Slots(tokens / (sessions * runs)),
            _ => Aim::Full,
        };
        Share {
            most,
            slots: length,
            tokens: length,
            rest,
            aim,
        }
    }

    /// The slots that a run has still before it.
    fn left(&self, slots: usize, since: Instant) -> usize {
        let done = match self.seconds_per_token > 0.0 {
            true => (since.elapsed().as_secs_f64() / self.seconds_per_token) as usize,
            false => 0,
        };
        slots.min((slots + RUN_TOKENS).saturating_sub(done))
    }
}

/// What a run takes.
pub(super) struct Share {
    most: usize,
    /// The run's tokens so far, padding included.
    slots: usize,
    /// The same without padding.
    tokens: usize,
    /// Tokens that wait beside the run.
    rest: usize,
    aim: Aim,
}

/// How large a run is to be.
enum Aim {
    /// As large as it may be.
    Full,
    /// About so many tokens.
    Slots(usize),
    /// It is the last one of its session, and is to end at about the same time as the other ones.
    Together(Others),
}

/// The other sessions.
struct Others {
    sessions: usize,
    /// The slots that their runs have before them.
    left: usize,
    /// What their next run costs beside its tokens, if that is not what they begin with.
    next_run: usize,
}

impl Share {
    /// Whether a text of `length` tokens joins the run, which has `slots` of them with it. It then no longer waits.
    pub(super) fn takes(&mut self, length: usize, slots: usize) -> bool {
        let (rest, tokens) = (self.rest.saturating_sub(length), self.tokens + length);
        let (padding, fits) = match &self.aim {
            Aim::Full => (RUN_TOKENS, true),
            // To the nearest number of texts.
            Aim::Slots(aim) => (FEW_PADDING, slots <= aim + length / 2),
            Aim::Together(others) => {
                let end = self.slots.max(others.end(self.rest));
                (FEW_PADDING, slots.max(others.end(rest)) <= end)
            }
        };
        let takes = fits && slots <= self.most && slots.saturating_sub(tokens) <= padding;
        if takes {
            (self.slots, self.tokens, self.rest) = (slots, tokens, rest);
        }
        takes
    }
}

impl Others {
    /// How many slots each of them has before it if they take the rest.
    fn end(&self, rest: usize) -> usize {
        let next_run = if rest == 0 { 0 } else { self.next_run };
        (self.left + next_run + rest) / self.sessions.max(1)
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

    /// How many texts of these lengths share the next run, the first one included.
    fn share(sessions: &Sessions, most: usize, lengths: &[usize]) -> usize {
        let waiting = Waiting {
            tokens: lengths[1..].iter().sum(),
            texts: 0,
        };
        let mut share = sessions.share(most, lengths[0], waiting);
        let mut count = 1;
        let longest = |count: usize| lengths[..count].iter().max().unwrap() * count;
        while count < lengths.len() && share.takes(lengths[count], longest(count + 1)) {
            count += 1;
        }
        count
    }

    #[test]
    fn few_texts_are_shared_out_evenly() {
        let mut sessions = with(2);
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
            assert_eq!(
                share(&sessions, 128, &vec![20; texts]),
                expected,
                "{texts} texts"
            );
        }
        // The other session has begun four texts of sixteen.
        sessions.run(0, 80);
        assert_eq!(share(&sessions, 128, &[20; 12]), 4);
        assert_eq!(share(&with(1), 128, &[20; 12]), 6);
    }

    #[test]
    fn texts_count_before_their_lengths_are_known() {
        let mut sessions = with(2);
        let unknown = |sessions: &Sessions| {
            let waiting = Waiting {
                tokens: 0,
                texts: 7,
            };
            sessions.share(128, 20, waiting).rest
        };
        assert_eq!(unknown(&sessions), 140);
        sessions.tokenize(1, 8);
        assert_eq!(unknown(&sessions), 300);
    }

    #[test]
    fn the_last_text_joins_a_run_rather_than_begin_one() {
        let mut sessions = with(2);
        assert_eq!(share(&sessions, 256, &[21, 21, 21, 23, 23, 23, 26, 27]), 4);
        sessions.run(0, 92);
        assert_eq!(share(&sessions, 256, &[23, 23, 26, 27]), 4);
        // The other session is done so much earlier that it had better run a text, too.
        assert_eq!(share(&sessions, 256, &[23, 23, 26, 27, 30, 60]), 5);
    }

    #[test]
    fn short_texts_do_not_fill_a_run_of_longer_ones() {
        assert_eq!(share(&with(1), 256, &[31, 20, 19, 11]), 2);
        let mut sessions = with(2);
        sessions.run(0, 200);
        assert_eq!(share(&sessions, 256, &[21, 11, 11, 11, 11, 11]), 4);
    }

    #[test]
    fn what_a_run_has_still_before_it_counts() {
        let mut sessions = with(2);
        sessions.run(0, 80);
        assert_eq!(share(&sessions, 128, &[20; 4]), 4);
        // It takes no time, as far as is known.
        sessions.seconds_per_token = 1e-12;
        assert_eq!(share(&sessions, 128, &[20; 4]), 2);
    }
}
