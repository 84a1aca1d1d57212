//! The store's words to a shard. Most need not be heard at once: a decision that is durable was answered by the writer's
//! thread, and all that is left is to take note of it. So a word wakes the shard only when the shard has said that it
//! waits for one, which saves a change of threads for nearly every commit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::shard::{Message, Word};

/// The shard's end.
pub(crate) struct Words {
    said: Receiver<Word>,
    wanted: Arc<AtomicBool>,
}

/// The store's end.
#[derive(Clone)]
pub(crate) struct Speaker {
    words: Sender<Word>,
    wanted: Arc<AtomicBool>,
    inbox: Sender<Message>,
}

/// Both ends; `inbox` is where the shard sleeps.
pub(crate) fn words(inbox: Sender<Message>) -> (Words, Speaker) {
    // Unbounded by itself: there is one word for each decision in flight, and admission limits those.
    let (words, said) = unbounded();
    let wanted = Arc::new(AtomicBool::new(false));
    let speaker = Speaker {
        words,
        wanted: Arc::clone(&wanted),
        inbox,
    };
    (Words { said, wanted }, speaker)
}

impl Words {
    /// Says whether the next word is to wake the shard. What was said before is to be taken after this and before it sleeps.
    pub(crate) fn wants(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
        // Either the speaker sees that it is wanted, or this shard sees the word.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn next(&self) -> Option<Word> {
        self.said.try_recv().ok()
    }
}

impl Speaker {
    pub(crate) fn say(&self, word: Word) {
        // The shard outlives its proposals, so that this only fails when the process is ending.
        drop(self.words.send(word));
        fence(Ordering::SeqCst);
        if self.wanted.load(Ordering::SeqCst) && self.wanted.swap(false, Ordering::SeqCst) {
            drop(self.inbox.send(Message::Look));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: u64) -> Word {
        Word {
            lane: 0,
            number,
            result: Ok(()),
        }
    }

    #[test]
    fn a_word_wakes_only_a_shard_that_waits_for_it() {
        let (inbox, messages) = unbounded();
        let (words, speaker) = words(inbox);
        speaker.say(word(1));
        assert!(messages.is_empty());
        words.wants(true);
        speaker.say(word(2));
        speaker.say(word(3));
        assert_eq!(messages.len(), 1, "once is enough");
        let numbers: Vec<u64> = std::iter::from_fn(|| words.next())
            .map(|word| word.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        words.wants(false);
        speaker.say(word(4));
        assert_eq!(messages.len(), 1);
    }

    #[test]
    fn no_word_is_slept_through() {
        let (inbox, messages) = unbounded();
        let (words, speaker) = words(inbox);
        let rounds = 20_000;
        let speaking = std::thread::spawn(move || {
            for number in 0..rounds {
                speaker.say(word(number));
                if number % 7 == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut heard = 0;
        while heard < rounds {
            words.wants(true);
            while words.next().is_some() {
                heard += 1;
            }
            if heard < rounds {
                let woken = messages.recv_timeout(std::time::Duration::from_secs(60));
                assert!(woken.is_ok(), "asleep after {heard} of {rounds} words");
            }
        }
        speaking.join().unwrap();
    }
}
