//! llama.cpp's model and context, owned: what is made is freed, in the right order, and every pointer stays in here.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, Once, PoisonError};

use llama_cpp_sys_2::*;

use super::LlamaCppError;
use super::callback::{Recorder, evaluate};
use crate::parity::capture::Tensor;

/// What llama.cpp says: its warnings and errors since the last look. One for the process, as its log is.
static LOG: Mutex<String> = Mutex::new(String::new());

/// The version of ggml, which is what computes; with the commit where the build knows it.
#[allow(unsafe_code)]
pub fn version() -> String {
    // SAFETY: both return static strings that end with a zero.
    let [version, commit] = unsafe { [CStr::from_ptr(ggml_version()), CStr::from_ptr(ggml_commit())] };
    let commit = match commit.to_string_lossy() {
        commit if commit == "unknown" => String::new(),
        commit => format!(" ({commit})"),
    };
    format!("llama.cpp with ggml {}{commit}", version.to_string_lossy())
}

/// Once in a process.
#[allow(unsafe_code)]
fn initialise() {
    static ONCE: Once = Once::new();
    // SAFETY: `keep_log` takes what llama.cpp gives its callback, and needs no data of its own.
    ONCE.call_once(|| unsafe {
        llama_log_set(Some(keep_log), ptr::null_mut());
        llama_backend_init();
    });
}

/// # Safety
/// `text` is a string that ends with a zero.
#[allow(unsafe_code)]
unsafe extern "C" fn keep_log(level: ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() || !(GGML_LOG_LEVEL_WARN..=GGML_LOG_LEVEL_ERROR).contains(&level) {
        return;
    }
    // SAFETY: llama.cpp's log lines are strings that end with a zero.
    let text = unsafe { CStr::from_ptr(text) };
    LOG.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text.to_string_lossy());
}

fn take_log() -> String {
    let log = std::mem::take(&mut *LOG.lock().unwrap_or_else(PoisonError::into_inner));
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it says nothing".to_owned() } else { lines.join("; ") }
}

pub struct Model {
    model: NonNull<llama_model>,
    shown: String,
}

impl Model {
    /// The file was read by us before, and is what it says.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> Result<Model, LlamaCppError> {
        initialise();
        take_log();
        let shown = path.display().to_string();
        let refused = |log| LlamaCppError::Refused { model: shown.clone(), log };
        let file = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| refused(error.to_string()))?;
        // SAFETY: plain values.
        let mut parameters = unsafe { llama_model_default_params() };
        parameters.n_gpu_layers = 0;
        // Weights as they are in the file, not repacked for other kernels.
        parameters.use_extra_bufts = false;
        // SAFETY: a string that ends with a zero, and parameters without pointers of ours.
        let model = unsafe { llama_model_load_from_file(file.as_ptr(), parameters) };
        let model = NonNull::new(model).ok_or_else(|| refused(take_log()))?;
        Ok(Model { model, shown })
    }
}

impl Drop for Model {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once; contexts borrow the model, so there are none left.
        unsafe { llama_model_free(self.model.as_ptr()) };
    }
}

pub struct Context<'a> {
    context: NonNull<llama_context>,
    /// A pointer, since llama.cpp has the same one: from `Box::into_raw`.
    recorder: NonNull<Recorder>,
    model: PhantomData<&'a Model>,
}

impl<'a> Context<'a> {
    /// For `positions` tokens, of which at most `at_once` come in one pass.
    #[allow(unsafe_code)]
    pub fn new(
        model: &'a Model,
        positions: usize,
        at_once: usize,
        threads: usize,
        recorder: Recorder,
    ) -> Result<Context<'a>, LlamaCppError> {
        // SAFETY: plain values.
        let mut parameters = unsafe { llama_context_default_params() };
        let recorder = NonNull::from(Box::leak(Box::new(recorder)));
        parameters.n_ctx = positions as u32;
        // The whole prompt in one graph.
        parameters.n_batch = at_once as u32;
        parameters.n_ubatch = at_once as u32;
        parameters.n_seq_max = 1;
        parameters.n_threads = threads.max(1) as i32;
        parameters.n_threads_batch = threads.max(1) as i32;
        parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        parameters.type_k = GGML_TYPE_F32;
        parameters.type_v = GGML_TYPE_F32;
        parameters.cb_eval = Some(evaluate);
        parameters.cb_eval_user_data = recorder.as_ptr().cast();
        take_log();
        // SAFETY: a model that outlives the context, and a recorder that does (see `drop`).
        let context = unsafe { llama_init_from_model(model.model.as_ptr(), parameters) };
        match NonNull::new(context) {
            Some(context) => Ok(Context { context, recorder, model: PhantomData }),
            None => {
                // SAFETY: from `Box::leak` above, and no context has it.
                drop(unsafe { Box::from_raw(recorder.as_ptr()) });
                Err(LlamaCppError::NoContext { model: model.shown.clone(), log: take_log() })
            }
        }
    }

    #[allow(unsafe_code)]
    pub fn recorder(&mut self) -> &mut Recorder {
        // SAFETY: alive as long as this is; llama.cpp uses it only inside of `feed`, which borrows this too.
        unsafe { self.recorder.as_mut() }
    }

    pub fn into_tensors(mut self) -> BTreeMap<String, Tensor> {
        // What is left behind is dropped with the context.
        std::mem::take(&mut self.recorder().tensors)
    }

    /// Computes tokens from a position on; the logits of the last one.
    #[allow(unsafe_code)]
    pub fn feed(&mut self, tokens: &[u32], position: usize) -> Result<Vec<f32>, LlamaCppError> {
        self.recorder().begin(tokens.len(), position);
        let mut ids: Vec<llama_token> = tokens.iter().map(|id| *id as llama_token).collect();
        let mut positions: Vec<llama_pos> = (position..position + tokens.len()).map(|at| at as llama_pos).collect();
        let mut sequence: llama_seq_id = 0;
        let mut counts = vec![1; tokens.len()];
        let mut sequences = vec![ptr::from_mut(&mut sequence); tokens.len()];
        // Of every position: else the last layer computes one row only.
        let mut wanted = vec![1; tokens.len()];
        let batch = llama_batch {
            n_tokens: tokens.len() as i32,
            token: ids.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: positions.as_mut_ptr(),
            n_seq_id: counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: wanted.as_mut_ptr(),
        };
        take_log();
        // SAFETY: every array has an element for each token, and lives until the call is over; the ids are in the
        // vocabulary; the recorder is not borrowed.
        let code = unsafe { llama_decode(self.context.as_ptr(), batch) };
        let recorder = self.recorder();
        recorder.end()?;
        if code != 0 {
            return Err(LlamaCppError::Decode { code, log: take_log() });
        }
        if recorder.last_logits.is_empty() {
            return Err(LlamaCppError::NoNode("the logits".to_owned()));
        }
        Ok(std::mem::take(&mut recorder.last_logits))
    }
}

impl Drop for Context<'_> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once; after that nobody has the recorder, which came from `Box::leak`.
        unsafe {
            llama_free(self.context.as_ptr());
            drop(Box::from_raw(self.recorder.as_ptr()));
        }
    }
}

/// A sampler, freed.
struct Sampler(*mut llama_sampler);

impl Drop for Sampler {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once.
        unsafe { llama_sampler_free(self.0) };
    }
}

/// The probabilities that llama.cpp's own samplers choose by.
#[allow(unsafe_code)]
pub fn probabilities(logits: &[f32], temperature: f32) -> Vec<f32> {
    let entry = |(id, logit): (usize, &f32)| llama_token_data { id: id as llama_token, logit: *logit, p: 0.0 };
    let mut entries: Vec<llama_token_data> = logits.iter().enumerate().map(entry).collect();
    let mut candidates =
        llama_token_data_array { data: entries.as_mut_ptr(), size: entries.len(), selected: -1, sorted: false };
    // SAFETY: the samplers work on the array in place and keep no pointer to it. The draw itself is not used.
    unsafe {
        for sampler in [llama_sampler_init_temp(temperature), llama_sampler_init_dist(1)].map(Sampler) {
            llama_sampler_apply(sampler.0, &mut candidates);
        }
    }
    let mut probabilities = vec![0.0; logits.len()];
    for entry in &entries[..candidates.size.min(logits.len())] {
        if let Some(place) = usize::try_from(entry.id).ok().and_then(|id| probabilities.get_mut(id)) {
            *place = entry.p;
        }
    }
    probabilities
}
