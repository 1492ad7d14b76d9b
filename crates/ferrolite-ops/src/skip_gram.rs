//! SKIP_GRAM: the word sequences of a text, in which some words in between may be left out.
//!
//! Source: LiteRT `kernels/skip_gram.cc`.

use crate::common::node_case::NodeCase;
use crate::common::strings::{Strings, write_string_vector};
use crate::op::{Case, InferResult, Inferred, Kernel, NodeView, OpDef, OpId, reference};
use crate::{OpError, ensure};
use ferrolite_model::schema::SkipGramOptionsT;
use ferrolite_model::{BuiltinOperator, BuiltinOptions, TensorType};
use smallvec::smallvec;
use std::ops::RangeInclusive;

/// SKIP_GRAM. Input: strings, of which the first is read.
pub struct SkipGram;

/// Most bytes that the result may have: the number of sequences grows exponentially with the options.
const LIMIT: usize = 1 << 28;

impl OpDef for SkipGram {
    fn id(&self) -> OpId {
        OpId::Builtin(BuiltinOperator::SKIP_GRAM)
    }

    fn versions(&self) -> RangeInclusive<i32> {
        1..=1
    }

    fn infer(&self, node: &NodeView<'_>) -> InferResult {
        node.expect(1..=1, 1)?;
        let ty = node.input(0)?.ty;
        if ty != TensorType::String {
            return Err(OpError::unsupported(format!("input of type {ty}")));
        }
        ensure!(node.options.as_skip_gram_options().is_some(), "options are missing");
        Ok(smallvec![Inferred::dynamic(TensorType::String)])
    }

    fn reference(&self, node: &NodeView<'_>) -> Result<Box<dyn Kernel>, OpError> {
        let Some(options) = node.options.as_skip_gram_options() else {
            return Err(OpError::invalid("options are missing"));
        };
        let grams = Grams {
            // As many words as no text has stand for a negative number.
            size: usize::try_from(options.ngram_size).unwrap_or(usize::MAX),
            skip: options.max_skip_size.into(),
            all: options.include_all_ngrams,
        };
        reference(move |io| {
            let input = Strings::new(io.input(0)?.bytes)?;
            ensure!(!input.is_empty(), "there is no text");
            let words = words(input.get(0));
            let length = |gram: &[usize]| gram.iter().map(|&i| words[i].len() + 1).sum::<usize>() - 1;
            let mut total = 0usize;
            grams.for_each(words.len(), |gram| {
                total += length(gram) + size_of::<i32>();
                ensure!(total <= LIMIT, "the result has more than {LIMIT} bytes");
                Ok(())
            })?;
            let (mut text, mut ends) = (Vec::with_capacity(total), Vec::new());
            grams.for_each(words.len(), |gram| {
                for (i, &word) in gram.iter().enumerate() {
                    text.extend((i > 0).then_some(b' '));
                    text.extend_from_slice(words[word]);
                }
                ends.push(text.len());
                Ok(())
            })?;
            let mut start = 0;
            let strings: Vec<&[u8]> = ends.iter().map(|&end| &text[std::mem::replace(&mut start, end)..end]).collect();
            write_string_vector(&mut io.outputs[0], &strings)
        })
    }

    fn cases(&self) -> Vec<Case> {
        const TEXTS: [&str; 4] = ["the quick brown fox jumps", " two  words", "\tone", ""];
        let mut cases = Vec::new();
        for text in TEXTS {
            for (ngram_size, max_skip_size, include_all_ngrams) in
                [(1, 0, false), (2, 0, false), (2, 1, false), (3, 2, true), (4, 1, false)]
            {
                let options = SkipGramOptionsT { ngram_size, max_skip_size, include_all_ngrams };
                let options = BuiltinOptions::SkipGramOptions(Box::new(options));
                let name = format!("{text:?} {ngram_size} {max_skip_size} {include_all_ngrams}");
                let node = NodeCase::new().strings(&[1], &[text]);
                cases.extend(node.finish(
                    name,
                    BuiltinOperator::SKIP_GRAM,
                    options,
                    &[(TensorType::String, &[1], None)],
                ));
            }
        }
        cases
    }
}

/// Splits at white space. A text that starts with it keeps it in front of its first word if that is the only one, as
/// LiteRT does.
fn words(text: &[u8]) -> Vec<&[u8]> {
    let is_space = |b: u8| matches!(b, b' ' | b'\t'..=b'\r');
    let mut words = Vec::new();
    let mut start = 0;
    for (i, &byte) in text.iter().enumerate().skip(1) {
        if is_space(byte) {
            if i > start && !is_space(text[start]) {
                words.push(&text[start..i]);
            }
            start = i + 1;
        }
    }
    if start < text.len() {
        words.push(&text[start..]);
    }
    words
}

/// Which sequences of words are wanted.
struct Grams {
    /// Words of a sequence.
    size: usize,
    /// Words that may be left out between two neighbours.
    skip: i64,
    /// Shorter sequences, too.
    all: bool,
}

impl Grams {
    /// Calls `visit` with the indices of the words of every sequence; a sequence comes after those that begin with it.
    fn for_each(&self, words: usize, mut visit: impl FnMut(&[usize]) -> Result<(), OpError>) -> Result<(), OpError> {
        if self.size == 0 || words < self.size {
            return Ok(());
        }
        let mut gram: Vec<usize> = Vec::with_capacity(self.size);
        let mut next = 0;
        loop {
            // A word is only taken if a sequence comes of it, so that the work is in proportion to the result.
            let room = if self.all { words } else { words - self.size + gram.len() + 1 };
            let end = match gram.last() {
                _ if gram.len() == self.size => 0,
                None => room,
                Some(&last) => usize::try_from(self.skip.saturating_add(2)).unwrap_or(0).saturating_add(last).min(room),
            };
            if next < end {
                gram.push(next);
                next += 1;
                continue;
            }
            if !gram.is_empty() && (self.all || gram.len() == self.size) {
                visit(&gram)?;
            }
            match gram.pop() {
                Some(last) => next = last + 1,
                None => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grams(size: usize, skip: i64, all: bool, words: usize) -> Vec<Vec<usize>> {
        let mut seen = Vec::new();
        let grams = Grams { size, skip, all };
        let mut visit = |gram: &[usize]| {
            seen.push(gram.to_vec());
            Ok(())
        };
        grams.for_each(words, &mut visit).unwrap();
        seen
    }

    #[test]
    fn splits_text_and_skips_words() {
        assert_eq!(words(b"The quick\t brown \n fox"), [&b"The"[..], b"quick", b"brown", b"fox"]);
        assert_eq!((words(b" a"), words(b"a "), words(b"")), (vec![&b" a"[..]], vec![&b"a"[..]], vec![]));
        assert_eq!(grams(2, 1, false, 4), [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]);
        assert_eq!(grams(2, 0, true, 3), [&[0, 1][..], &[0], &[1, 2], &[1], &[2]]);
        assert_eq!((grams(3, 0, false, 2).len(), grams(0, 0, true, 2).len()), (0, 0));
        assert_eq!((grams(2, -1, false, 3).len(), grams(2, -1, true, 3).len()), (0, 3));
    }

    #[test]
    fn does_not_search_where_nothing_is() {
        // One sequence of 1000 of 1000 words; without foresight the skips would make the search endless.
        assert_eq!(grams(1000, 5, false, 1000).len(), 1);
        assert_eq!(grams(1000, 5, false, 1001).len(), 1001);
    }
}
