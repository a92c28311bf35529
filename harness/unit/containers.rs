//! What is asked of a stream while machines come and go can fail: every story that is told wrongly is refused.

use llorch::harness::containers::story::{Ending, judge, same_again};
use llorch::harness::http::{Headers, Request};
use llorch::harness::transcript::Transcript;

pub const TESTS: &[(&str, fn())] = &[
    ("containers/a_story_told_right_holds", a_story_told_right_holds),
    ("containers/a_story_told_wrongly_is_refused", a_story_told_wrongly_is_refused),
    ("containers/another_story_is_not_the_same", another_story_is_not_the_same),
];

const STARTED: &str = "id: 1\nevent: started\ndata: {}\n\n";
const TOKENS: [&str; 2] =
    ["id: 2\nevent: token\ndata: {\"t\":\"a\",\"i\":0}\n\n", "id: 3\nevent: token\ndata: {\"t\":\"b\",\"i\":1}\n\n"];
const END: &str = "id: 4\nevent: end\ndata: {\"tokens_out\":2}\n\n";
const RESET: &str = "id: 4\nevent: error\ndata: {\"code\":\"WORKER_RESET\",\"retriable\":true}\n\n";

fn story(frames: &[&str]) -> Transcript {
    Transcript::replay(Request::get("/"), Headers(Vec::new()), frames.concat().as_bytes())
}

fn a_story_told_right_holds() {
    let whole = story(&[STARTED, TOKENS[0], TOKENS[1], END]);
    let reset = story(&[STARTED, TOKENS[0], RESET]);
    for (told, endings) in [(&whole, [Ending::Whole, Ending::Told]), (&reset, [Ending::Reset, Ending::Told])] {
        endings.iter().for_each(|ending| judge(told, 2, *ending).unwrap());
        same_again(told, told).unwrap();
    }
    same_again(&story(&[STARTED, TOKENS[0]]), &whole).unwrap(); // cut off, and read on
}

fn a_story_told_wrongly_is_refused() {
    let final_reset = RESET.replace("true", "false");
    let cancelled = RESET.replace("WORKER_RESET", "CANCELLED");
    let short = END.replace('2', "1");
    let no_id = TOKENS[1].replace("id: 3\n", "");
    let late = TOKENS[1].replace("id: 3", "id: 5");
    let wrong: [(&str, &[&str], Ending); 12] = [
        ("a token twice", &[STARTED, TOKENS[0], TOKENS[0], TOKENS[1], END], Ending::Told),
        ("a token left out", &[STARTED, TOKENS[1], END], Ending::Told),
        ("tokens in another order", &[STARTED, TOKENS[1], TOKENS[0], END], Ending::Told),
        ("a token without an id", &[STARTED, TOKENS[0], &no_id, END], Ending::Told),
        ("no ending", &[STARTED, TOKENS[0], TOKENS[1]], Ending::Told),
        ("two endings", &[STARTED, TOKENS[0], TOKENS[1], END, RESET], Ending::Told),
        ("a token after the ending", &[STARTED, TOKENS[0], END, &late], Ending::Told),
        ("fewer tokens than were asked for", &[STARTED, TOKENS[0], &short], Ending::Whole),
        ("an end where the worker was lost", &[STARTED, TOKENS[0], TOKENS[1], END], Ending::Reset),
        ("a reset where nothing was lost", &[STARTED, TOKENS[0], RESET], Ending::Whole),
        ("a reset that forbids another try", &[STARTED, TOKENS[0], &final_reset], Ending::Reset),
        ("another error", &[STARTED, TOKENS[0], &cancelled], Ending::Told),
    ];
    for (what, frames, ending) in wrong {
        assert!(judge(&story(frames), 2, ending).is_err(), "{what} passes");
    }
}

fn another_story_is_not_the_same() {
    let whole = story(&[STARTED, TOKENS[0], TOKENS[1], END]);
    let changed = TOKENS[1].replace('b', "c");
    let wrong: [(&str, &[&str]); 3] = [
        ("another token", &[STARTED, TOKENS[0], &changed, END]),
        ("an event that is gone", &[STARTED, TOKENS[1], END]),
        ("something after the ending", &[STARTED, TOKENS[0], TOKENS[1], END, RESET]),
    ];
    for (what, frames) in wrong {
        assert!(same_again(&whole, &story(frames)).is_err(), "{what} passes");
    }
}
