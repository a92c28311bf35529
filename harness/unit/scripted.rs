//! The scripted worker: every mistake of its table shows on the wire, the honest one is steady, every oddity is there.

mod play;
mod pool_manager;
mod probes;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use llorch::harness::scripted::options::Options;
use llorch::harness::scripted::{MISTAKES, ODDITIES, Quirk, Slip};
use play::Script;

pub const TESTS: &[(&str, fn())] = &[
    ("scripted/names", names),
    ("scripted/usage_error_lists_the_names", usage_error_lists_the_names),
    ("scripted/every_mistake_shows", every_mistake_shows),
    ("scripted/every_oddity_shows", every_oddity_shows),
];

type Probe = fn(&Script) -> String;

/// The probe that sees the mistake. A new variant without one does not compile; one without effect fails.
fn probe_of(slip: Slip) -> Probe {
    use Slip::*;
    match slip {
        DataWithoutEvent
        | TypeTagOnly
        | TwoTerminalEvents
        | TokenAfterEnd
        | MetricsAfterEnd
        | DoneMarker
        | EndMissing
        | NeverEnds
        | ErrorThenContinues
        | StartedMissing
        | StartedTwice
        | StartedWithoutModel
        | StartedAtLocal
        | JobIdNotEchoed
        | IndexFromOne
        | IndexGap
        | IndexStandsStill
        | IndexCountsTokens
        | TokenNull
        | TokenEmpty
        | ReplacementCharacters
        | InvalidUtf8
        | BlanksStripped
        | ExtraBlanks
        | CumulativeText
        | DataNestedAsString
        | DataOnManyLines
        | EndWithoutSeed
        | SeedDiffers
        | StopReasonMissing
        | StopReasonLowerCase
        | StopMatchedMissing
        | DecodeTimeMissing
        | TokensOutWrong
        | TokensOutAsText
        | WrongContentType
        | Gzip
        | NoFinalBlankLine
        | ResetMidEvent
        | UnfinishedChunking => probes::stream,
        OneBurst => probes::pace,
        HealthFieldMissing | HealthWrongType | HealthOtherStatus | HealthAsText | HealthFailsUntilJob
        | HealthOtherWorker | HealthNoMemory => probes::health,
        HealthBlocks => probes::health_while_generating,
        HealthFrozenClock => probes::uptime,
        EndAfterError
        | ErrorWithoutRetriable
        | UnknownErrorCode
        | CancelIgnored
        | CancelUnknown404
        | CancelNotIdempotent
        | CancelAnswers200
        | CancelWaits
        | CancelledWithEnd
        | CancelledSilently
        | TokenAfterCancelled
        | CancelledAsSuccess => probes::cancel,
        CancelAnyJob | CancelRemembered => probes::cancel_another,
        LeftoverTokens => probes::after_cancel,
        DisconnectIgnored => probes::disconnect,
        WaitingCancelIgnored | WaitingCancelStarts => probes::waiting_cancel,
        BusyWithoutRetryAfter
        | Busy429
        | QueueUnbounded
        | QueueLastFirst
        | StartedWhileWaiting
        | TwoAtOnce
        | DuplicateAccepted
        | DuplicateForEver => probes::queue,
        SeedIgnored | SeedWithoutEffect | SeedThroughDouble | SeedAlwaysSame | StateCarriedOver | GreedyRandom
        | GreedyUsesSeed | TemperatureIgnored | TopKIgnored | TopPIgnored | MinPIgnored | PenaltyIgnored
        | PromptIgnored => probes::sampling,
        MaxTokensIgnored | MaxTokensOffByOne | DefaultMaxTokens => probes::limits,
        EosNotCounted => probes::end_of_text,
        StopIgnored | StopEmitted | StopPerToken | StopTailLost | StopLastWins | StopSaidEos => probes::stops,
        RangeUnchecked
        | FirstErrorOnly
        | PromptEchoed
        | BadRequestAsText
        | BadRequest422
        | BadRequestOtherCode
        | BadRequestInStream
        | ErrorsWithoutConstraint
        | UnknownFieldsRefused
        | MalformedJson500
        | TrailingGarbageAccepted
        | NumbersFromText
        | OverflowDrops
        | MissingJobIdAccepted
        | JobIdUnchecked
        | JobIdInComment
        | PromptInBytes
        | LongPromptCut
        | StopLimitsUnchecked
        | BodyLimitMissing
        | ContentTypeUnchecked
        | ContentType400 => probes::refusals,
        HealthLocked | TokenUnchecked | TokenPrefixAccepted | CancelOpen | ShutdownOpen | Unauthorized403
        | UnauthorizedTells => probes::access,
        PublicBindAccepted => probes::public_bind,
        CorrelationNotEchoed
        | CorrelationReplaced
        | CorrelationUnchecked
        | CorrelationConstant
        | CorrelationMissingOnErrors => probes::correlation,
        CounterIdles | ScrapesDiffer | TokenCounterWrong | TokenCounterResets | RequestsTotalMissing
        | MetricsAsJson => probes::metrics,
        PromptInLog | TextInLog | LogNotJson | LogNested | StartupOutOfOrder | CorrelationNotLogged | TokenInLog => {
            probes::log
        }
        CallbackBeforeListening
        | CallbackFieldsMissing
        | CallbackOtherWorker
        | CallbackWildcardUri
        | CallbackOtherPort
        | CallbackWithoutBearer
        | CallbackByGet
        | CallbackTwice => pool_manager::callback,
        CallbackOnly200 => pool_manager::no_content,
        CallbackFailureIgnored | CallbackOnce | CallbackEndless => pool_manager::refused_callback,
        CallbackWithoutTimeout => pool_manager::silent_pool_manager,
        TestModeCalls | TestModeByPrefix => probes::test_mode,
        ExitZeroOnFailedLoad | FailedLoadSilent | FailedLoadServes => probes::failed_load,
        BadFlagIgnored => probes::bad_flag,
        SigtermIgnored | SigintIgnored | ExitOneOnStop | ShutdownMissing | ShutdownLeavesRunning => probes::stop_idle,
        SigtermDropsJob => probes::drop_on_signal,
        SigtermAcceptsJobs | DrainRunsQueue => probes::drain,
        DrainWithoutDeadline => probes::drain_deadline,
        SecondSignalIgnored => probes::second_signal,
        OneShot => probes::one_shot,
    }
}

/// Works through a list on a few threads: most of a probe is waiting.
fn on_threads<T: Sync>(list: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(item) = list.get(next.fetch_add(1, Ordering::SeqCst)) {
                    work(item);
                }
            });
        }
    });
}

fn names() {
    let names: Vec<&str> =
        MISTAKES.iter().map(|mistake| mistake.name).chain(ODDITIES.iter().map(|oddity| oddity.name)).collect();
    let kebab =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    assert!(names.iter().all(|name| kebab(name)), "{names:?}");
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    for mistake in MISTAKES {
        let spelled = format!("{:?}", mistake.slip).to_lowercase();
        assert_eq!(spelled, mistake.name.replace('-', ""), "variant and name are one word");
        assert!(mistake.description.ends_with('.'), "{} is described by a sentence", mistake.name);
    }
    for oddity in ODDITIES {
        assert_eq!(format!("{:?}", oddity.quirk).to_lowercase(), oddity.name.replace('-', ""));
    }
}

fn usage_error_lists_the_names() {
    let words = ["--mistake".to_string(), "no-such".to_string()];
    assert!(Options::parse(&words, &|_| None).is_err_and(|message| message.contains("no-such")));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_llorch"))
        .args(["scripted-worker", "--oddity", "no-such"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(MISTAKES.iter().all(|mistake| said.contains(mistake.name)));
    assert!(ODDITIES.iter().all(|oddity| said.contains(oddity.name)));
}

/// Does each way of playing tell another story than the honest worker, which itself tells the same one twice?
fn all_show(ways: &[(&str, &str, Probe)]) {
    let honest = Script(Vec::new());
    let wrong = Mutex::new(Vec::new());
    let probes: BTreeMap<usize, Probe> = ways.iter().map(|(_, _, probe)| (*probe as usize, *probe)).collect();
    let probes: Vec<(usize, Probe)> = probes.into_iter().collect();
    let stories = Mutex::new(BTreeMap::new());
    on_threads(&probes, |(address, probe)| {
        let (story, again) = (probe(&honest), probe(&honest));
        if story != again {
            wrong.lock().unwrap().push(format!("an honest worker tells two stories:\n{story}\n--\n{again}"));
        }
        stories.lock().unwrap().insert(*address, story);
    });
    on_threads(ways, |(flag, name, probe)| {
        let told = probe(&Script(vec![flag.to_string(), name.to_string()]));
        if stories.lock().unwrap().get(&(*probe as usize)) == Some(&told) {
            wrong.lock().unwrap().push(format!("{name} does not show:\n{told}"));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn every_mistake_shows() {
    all_show(&MISTAKES.iter().map(|row| ("--mistake", row.name, probe_of(row.slip))).collect::<Vec<_>>());
}

/// The probe that sees the oddity.
fn probe_of_quirk(quirk: Quirk) -> Probe {
    use Quirk::*;
    match quirk {
        CrLf
        | LoneCr
        | LeadingBom
        | DataFirst
        | NoBlankAfterColon
        | Comments
        | LongLine
        | UnknownFields
        | UnknownEvents
        | IdAndRetry
        | ManyBlankLines
        | EventWithoutData
        | CutAnywhere
        | OneByteAtATime
        | SeveralWrites
        | EndsWithConnection
        | ChunkExtensions
        | ChunkTrailers
        | InterimResponse
        | LowerCaseHeaders
        | ContentTypeParameter
        | EscapedUnicode
        | SpacedJson
        | OtherKeyOrder
        | FractionalTimes
        | OffsetForZ
        | NoMetricsEvents
        | MetricsAfterEachToken
        | TokenIds => probes::exact_stream,
        HeadInPieces => probes::first_bytes,
        HealthExtras => probes::health,
        WaitingComments => probes::silence,
        HeadHeldBack => probes::silent_cancel,
        NullRefused => probes::null,
        RetryAfterDate => probes::busy,
    }
}

fn every_oddity_shows() {
    all_show(&ODDITIES.iter().map(|row| ("--oddity", row.name, probe_of_quirk(row.quirk))).collect::<Vec<_>>());
}
