//! The legal oddities: unusual on the wire, allowed by the standards or the contract. A harness that refuses one of
//! them is wrong about a right worker; which cases each must pass says `features/selftest/oddities.feature`.

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Oddity {
    pub quirk: Quirk,
    /// What `--oddity` takes, in kebab case.
    pub name: &'static str,
    /// What is unusual, and what allows it where that is not obvious.
    pub description: &'static str,
}

impl Oddity {
    pub fn named(name: &str) -> Option<&'static Oddity> {
        ODDITIES.iter().find(|oddity| oddity.name == name)
    }
}

macro_rules! oddities {
    ($($quirk:ident $name:literal $description:literal)*) => {
        /// What is unusual, and legal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Quirk { $(#[doc = $description] $quirk,)* }

        pub const ODDITIES: &[Oddity] = &[$(Oddity {
            quirk: Quirk::$quirk,
            name: $name,
            description: $description,
        },)*];
    };
}

oddities! {
    // The event stream's bytes
    CrLf "cr-lf" "Lines end with CR LF."
    LoneCr "lone-cr" "Lines end with CR alone."
    LeadingBom "leading-bom" "The stream begins with a byte order mark."
    DataFirst "data-first" "The data line stands before the event line."
    NoBlankAfterColon "no-blank-after-colon" "No blank follows the colon of a field."
    Comments "comments" "Comments stand between frames and within them, one that looks like a frame among them."
    LongLine "long-line" "A data line is 64 KiB long."
    UnknownFields "unknown-fields" "Frames have fields that the standard does not know, and their JSON members that the contract does not know."
    UnknownEvents "unknown-events" "Events of other names stand between the known ones, as a ping would."
    IdAndRetry "id-and-retry" "Frames carry `id` and `retry` fields."
    ManyBlankLines "many-blank-lines" "Several blank lines stand between frames."
    EventWithoutData "event-without-data" "A frame has an event line and no data: the standard says that it is not dispatched."
    // How the bytes travel
    CutAnywhere "cut-anywhere" "HTTP chunks are cut anywhere, inside a character too."
    OneByteAtATime "one-byte-at-a-time" "Every byte is a chunk and a write of its own."
    SeveralWrites "several-writes" "A frame is written in several pieces with a pause between."
    EndsWithConnection "ends-with-connection" "No length and no chunks: the stream ends with the connection, which was announced."
    ChunkExtensions "chunk-extensions" "HTTP chunks carry extensions and their sizes leading zeros."
    ChunkTrailers "chunk-trailers" "A trailer field follows the last chunk."
    HeadInPieces "head-in-pieces" "The response head is written in several pieces."
    InterimResponse "interim-response" "`100 Continue` comes before each answer to a request with a body."
    LowerCaseHeaders "lower-case-headers" "Header names are in lower case and their values without the blank before."
    ContentTypeParameter "content-type-parameter" "The stream's content type is `Text/Event-Stream; charset=UTF-8`."
    // JSON
    EscapedUnicode "escaped-unicode" "Everything beyond ASCII is escaped in the JSON, with surrogate pairs."
    SpacedJson "spaced-json" "The JSON has blanks between its parts."
    OtherKeyOrder "other-key-order" "The members of the JSON stand in reverse order."
    FractionalTimes "fractional-times" "`decode_time_ms` has a fraction."
    OffsetForZ "offset-for-z" "`started_at` says +00:00 instead of Z."
    HealthExtras "health-extras" "/health has members of its own."
    // Choices that the contract leaves open
    NoMetricsEvents "no-metrics-events" "No `metrics` event is ever sent."
    MetricsAfterEachToken "metrics-after-each-token" "A `metrics` event follows each token."
    WaitingComments "waiting-comments" "A waiting stream gets comments to keep it alive."
    HeadHeldBack "head-held-back" "The response head waits for the job's start; cancelled before, the answer is 499."
    NullRefused "null-refused" "`null` in an optional field is refused."
    RetryAfterDate "retry-after-date" "Retry-After is a date."
    TokenIds "token-ids" "Token events carry the ids of their tokens."
}
