//! Reads a request in one pass: its members, bounded, without a tree of JSON.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use score::{Activation, ScoreError};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{TextError, TextRequest};
use crate::body::Limits;

/// Characters of a request that a message quotes.
const MAX_QUOTED: usize = 200;

/// The members of one API's requests.
pub(super) trait Members {
    /// What a request looks like, for messages.
    const EXPECTED: &'static str;
    /// The members whose mistakes are told with their name.
    const NAMES: &'static [&'static str];

    /// What a request asks for unless it says otherwise.
    fn defaults(_: &mut TextRequest) {}

    /// Takes one member, or skips one that is not known.
    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error>;
}

/// Reads a request whose members are those of `M`.
pub(super) fn read<M: Members>(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let mut request = TextRequest::default();
    M::defaults(&mut request);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let object = Object::<M> {
        limits,
        request: &mut request,
        nested: false,
        members: PhantomData,
    };
    let read = object.deserialize(&mut reader).and_then(|()| reader.end());
    match read {
        Ok(()) => Ok(request),
        Err(error) => Err(mistake(&error, M::NAMES).into()),
    }
}

/// The same for a request that has to hold texts, in the member of this name.
pub(super) fn read_texts<M: Members>(
    body: &[u8],
    limits: Limits,
    member: &str,
) -> Result<TextRequest, TextError> {
    let request = read::<M>(body, limits)?;
    match request.texts.is_empty() {
        true => Err(without_texts(member)),
        false => Ok(request),
    }
}

/// For a request without texts.
pub(super) fn without_texts(member: &str) -> TextError {
    let message = format!("{member}: expected a text or a list of texts; found none");
    TextError::Empty(ScoreError::invalid(member, message))
}

fn mistake(error: &serde_json::Error, names: &[&str]) -> ScoreError {
    let text: String = error.to_string().chars().take(2 * MAX_QUOTED).collect();
    // A mistake in a member is told with the member's name.
    let in_member = |name: &&str| {
        text.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(':'))
    };
    ScoreError::InvalidInput {
        target: names.iter().copied().find(in_member).map(str::to_owned),
        message: match error.is_syntax() || error.is_eof() {
            true => format!("the body is not valid JSON: {text}"),
            false => text,
        },
    }
}

struct Object<'r, M> {
    limits: Limits,
    request: &'r mut TextRequest,
    /// Whether it is a member of another object, so that it may be null.
    nested: bool,
    members: PhantomData<M>,
}

impl<'de, M: Members> DeserializeSeed<'de> for Object<'_, M> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.nested {
            true => deserializer.deserialize_any(self),
            false => deserializer.deserialize_map(self),
        }
    }
}

impl<'de, M: Members> Visitor<'de> for Object<'_, M> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nested {
            true => f.write_str("an object"),
            false => f.write_str(M::EXPECTED),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let member = Member {
                map: &mut map,
                name: &name,
                limits: self.limits,
                nested: self.nested,
            };
            M::take(member, self.request)?;
        }
        Ok(())
    }
}

/// A member whose value is still to be read.
pub(super) struct Member<'m, A> {
    map: &'m mut A,
    /// Its name.
    pub(super) name: &'m str,
    pub(super) limits: Limits,
    nested: bool,
}

impl<'de, A: MapAccess<'de>> Member<'_, A> {
    /// Any value, which is not looked at.
    pub(super) fn skip(self) -> Result<(), A::Error> {
        self.map.next_value::<IgnoredAny>().map(drop)
    }

    /// A value that may be null.
    pub(super) fn optional<T: Deserialize<'de>>(
        self,
        expected: &str,
    ) -> Result<Option<T>, A::Error> {
        let value = self.map.next_value();
        value.map_err(|error| wrong(self.name, format_args!("expected {expected}; {error}")))
    }

    /// The name of a model, or null.
    pub(super) fn model(self) -> Result<Option<String>, A::Error> {
        self.optional("the name of a model")
    }

    /// A truth value, also as a text, or null.
    pub(super) fn flag(self) -> Result<Option<bool>, A::Error> {
        let flag: Option<Flag> = self.optional("true or false")?;
        Ok(flag.map(|Flag(flag)| flag))
    }

    /// Whether logits are wanted as they are.
    pub(super) fn raw_scores(self) -> Result<Option<Activation>, A::Error> {
        let raw = self.flag()?.unwrap_or(false);
        Ok(raw.then_some(Activation::None))
    }

    /// How many are wanted, or null.
    pub(super) fn count(self) -> Result<Option<usize>, A::Error> {
        let name = self.name;
        match self.optional("a number of 1 or more")? {
            Some(0) => Err(wrong(
                name,
                format_args!("expected a number of 1 or more; found 0"),
            )),
            found => Ok(found),
        }
    }

    /// One of several words, or null.
    pub(super) fn word<T: Copy>(self, words: &[(&str, T)]) -> Result<Option<T>, A::Error> {
        let name = self.name;
        match self.optional::<Name<'_>>(&any_of(words))? {
            Some(Name(found)) => known(name, words, &found).map(Some),
            None => Ok(None),
        }
    }

    /// A list of such words, each once; null counts as none.
    pub(super) fn words<T: Copy + PartialEq>(
        self,
        words: &[(&str, T)],
    ) -> Result<Vec<T>, A::Error> {
        let name = self.name;
        let given: Option<Vec<Name<'_>>> = self.seeded(Few(PhantomData))?;
        let mut wanted = Vec::new();
        for Name(found) in given.into_iter().flatten() {
            let found = known(name, words, &found)?;
            if !wanted.contains(&found) {
                wanted.push(found);
            }
        }
        Ok(wanted)
    }

    /// A list of names, or null.
    pub(super) fn names(self) -> Result<Option<Vec<String>>, A::Error> {
        self.seeded(Few(PhantomData))
    }

    /// A text, a list of texts or null, which counts as none.
    pub(super) fn texts(self) -> Result<Vec<String>, A::Error> {
        let texts = Texts(self.limits);
        self.seeded(texts)
    }

    /// A value that `seed` reads.
    pub(super) fn seeded<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.map.next_value_seed(seed);
        value.map_err(|error| wrong(self.name, error))
    }

    /// An object with further members of `M`, or null. There are none below those.
    pub(super) fn object<M: Members>(self, request: &mut TextRequest) -> Result<(), A::Error> {
        if self.nested {
            return self.skip();
        }
        let limits = self.limits;
        self.seeded(Object::<M> {
            limits,
            request,
            nested: true,
            members: PhantomData,
        })
    }
}

fn any_of<T>(words: &[(&str, T)]) -> String {
    let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    all.join(" or ")
}

/// What a word stands for.
fn known<T: Copy, E: de::Error>(name: &str, words: &[(&str, T)], found: &str) -> Result<T, E> {
    let mut words_of = words.iter();
    let known = words_of.find(|(word, _)| word.eq_ignore_ascii_case(found));
    known.map(|(_, meant)| *meant).ok_or_else(|| {
        let found: String = found.chars().take(MAX_QUOTED).collect();
        let expected = any_of(words);
        wrong(name, format_args!("expected {expected}; found {found:?}"))
    })
}

/// A mistake in a member.
pub(super) fn wrong<E: de::Error>(name: &str, message: impl fmt::Display) -> E {
    E::custom(format_args!("{name}: {message}"))
}

/// More texts, documents or records than a request may bring.
pub(super) fn more_than<E: de::Error>(most: usize, what: &str) -> E {
    E::custom(format_args!(
        "more than {most} {what} in one request (SCORE_MAX_ROWS)"
    ))
}

/// A text that is borrowed from the body where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}

/// A truth value. Some clients write it as a text.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Flag, E> {
                Ok(Flag(flag))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
                let flag = text.to_ascii_lowercase().parse().map(Flag);
                flag.map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads a list of a few values; null is none.
struct Few<T>(PhantomData<T>);

impl<T> Few<T> {
    const MOST: usize = 1000;
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Few<T> {
    type Value = Option<Vec<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            if values.len() == Self::MOST {
                return Err(de::Error::custom(format_args!(
                    "more than {} names",
                    Self::MOST
                )));
            }
            values.push(value);
        }
        Ok(Some(values))
    }
}

/// Reads a text or a list of texts.
pub(super) struct Texts(pub(super) Limits);

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let most = self.0.max_rows;
        while let Some(Text(text)) = seq.next_element()? {
            if texts.len() == most {
                return Err(more_than(most, "texts"));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

/// One text of a list. Clients that tokenize send numbers, of a tokenizer that is not the model's.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        const TOKENS: &str = "expected texts; found token ids, which are of another tokenizer than this model's; let the \
                              client send text (LangChain: check_embedding_ctx_length=False)";
        impl<'de> Visitor<'de> for One {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in the list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
                Err(de::Error::custom(TOKENS))
            }
        }
        deserializer.deserialize_any(One)
    }
}
