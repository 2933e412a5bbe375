//! One name after RFC 3263: the procedure says what to ask, the client asks it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};

use super::client::Client;
use crate::dns::{self, Answer, Directory, Outcome, Query, Question, Served, Step};
use crate::limits;
use crate::plan::Plan;

/// A query that was made.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What was asked.
    pub query: Query,
    /// What was said.
    pub answer: Answer,
    /// How long it took.
    pub took: Duration,
}

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The question.
    pub question: Question,
    /// Where it leads to.
    pub outcome: Outcome,
    /// All queries, in order.
    pub asked: Vec<Asked>,
}

/// Asks until the procedure is done; what is to be asked in one step is asked at once. What has no answer when the
/// time is over has failed.
pub(super) async fn resolve(
    client: Arc<Client>,
    question: Question,
    served: Served,
    patience: Duration,
) -> Resolved {
    let deadline = tokio::time::Instant::now() + patience;
    let (mut answers, mut asked) = (Vec::new(), Vec::new());
    loop {
        let queries = match dns::next(&question, served, &answers) {
            Step::Done(outcome) => return Resolved { question, outcome, asked },
            Step::Ask(queries) => queries,
        };
        let begin = Instant::now();
        let client = &client;
        let round = join_all(queries.into_iter().map(|query| async move {
            // What begins too late is not asked: whether an answer is quicker than the timer would be chance.
            let answer = match tokio::time::Instant::now() < deadline {
                true => tokio::time::timeout_at(deadline, client.ask(&query)).await.ok(),
                false => None,
            };
            let answer = answer.unwrap_or_else(|| Answer::Failed("no answer in time".into()));
            Asked { query, answer, took: begin.elapsed() }
        }));
        for one in round.await {
            answers.push((one.query.clone(), one.answer.clone()));
            asked.push(one);
        }
    }
}

/// What these questions lead to, asked now: for commands that answer once. Blocks for at most `patience`; a question
/// without an answer by then leads nowhere.
///
/// # Errors
/// The system has no room for a runtime.
pub fn resolve_now(plan: &Plan, questions: &[Question], patience: Duration) -> io::Result<Vec<Resolved>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = plan.served();
    let client = Arc::new(Client::new(&plan.dns));
    let deadline = Instant::now() + patience;
    let one = |(place, question): (usize, Question)| {
        let client = Arc::clone(&client);
        async move {
            let left = deadline.saturating_duration_since(Instant::now());
            (place, resolve(client, question, served, left).await)
        }
    };
    let all = stream::iter(questions.iter().copied().enumerate()).map(one);
    let mut all: Vec<_> = runtime.block_on(all.buffer_unordered(limits::DNS_AGAIN).collect());
    all.sort_unstable_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, resolved)| resolved).collect())
}

/// The names of a Plan, asked now, as shards read them.
///
/// # Errors
/// As [`resolve_now`].
pub fn names_now(plan: &Plan, patience: Duration) -> io::Result<Directory> {
    let resolved = resolve_now(plan, &plan.questions(), patience)?;
    Ok(Directory::of(resolved.into_iter().map(|r| (r.question, r.outcome.resolution))))
}
