//! The C ABI: what `include/interneuron.h` declares.
//!
//! Every entry point has the same three parts: copy and check what the caller hands in, take the handle out of the
//! table, call the Rust crate. What an argument alone shows (NULL, alignment, sizes, overlap) is checked
//! before a reference to the caller's memory exists. That the memory is as long as the sizes say nobody can check; it
//! is the one thing that a caller must get right, and what the SAFETY lines call the contract of the header.

// The contract of all unsafe functions is the same and stands once, at the head of the header. No panic leaves them.
#![allow(clippy::missing_panics_doc, clippy::missing_safety_doc)]

mod arguments;
mod arrays;
mod checkpoint;
mod config;
mod context;
mod element;
mod fork;
mod held;
mod info;
mod inspect;
mod layer;
mod network;
mod shapes;
mod state;
mod status;
mod table;
mod targets;

#[cfg(test)]
mod tests;

// What the header declares, for the fuzz target, which links these sources as a Rust library.
pub use checkpoint::{
    interneuron_network_get_scaler, interneuron_network_load, interneuron_network_load_f64, interneuron_network_save,
    interneuron_network_set_scaler,
};
pub use config::{
    AdamConfig, AngleConfig, Arrays, ContextConfig, INTERNEURON_CLIP_ARRAY, INTERNEURON_CLIP_LAYER,
    INTERNEURON_CLIP_NETWORK, INTERNEURON_DECAY_AFTER_MOMENTUM, INTERNEURON_DECAY_BEFORE_MOMENTUM,
    INTERNEURON_DECAY_DECOUPLED, LayerConfig, NaturalConfig, NetworkConfig, UpdateConfig,
};
pub use context::{interneuron_context_create, interneuron_context_free};
pub use element::{INTERNEURON_F32, INTERNEURON_F64};
pub use info::{
    INTERNEURON_IDENTITY, INTERNEURON_RELU, interneuron_abi_version, interneuron_isa_count, interneuron_isa_name,
    interneuron_version,
};
pub use inspect::{StatisticsOutput, interneuron_network_inspect, interneuron_network_inspect_strided};
pub use layer::{
    interneuron_layer_apply, interneuron_layer_attach, interneuron_layer_backward, interneuron_layer_backward_strided,
    interneuron_layer_create, interneuron_layer_detach, interneuron_layer_forward, interneuron_layer_forward_strided,
    interneuron_layer_free, interneuron_layer_get_parameters, interneuron_layer_infer, interneuron_layer_infer_strided,
    interneuron_layer_inhibition, interneuron_layer_inhibition_strided, interneuron_layer_init,
    interneuron_layer_parameter, interneuron_layer_parameter_count, interneuron_layer_set_parameters,
    interneuron_layer_update, interneuron_layer_update_strided,
};
pub use network::{
    interneuron_network_apply, interneuron_network_attach, interneuron_network_create, interneuron_network_detach,
    interneuron_network_evaluate, interneuron_network_free, interneuron_network_get_parameters,
    interneuron_network_gradients, interneuron_network_layer_count, interneuron_network_logits,
    interneuron_network_logits_strided, interneuron_network_parameter, interneuron_network_parameter_count,
    interneuron_network_set_parameters, interneuron_network_train_step,
};
pub use shapes::{
    INTERNEURON_BATCH_NORM, INTERNEURON_BY_NI, INTERNEURON_CENTRED, INTERNEURON_CENTRED_LOGNORMAL, INTERNEURON_COLUMNS,
    INTERNEURON_DIVISOR_FLOOR, INTERNEURON_DIVISOR_PLAIN, INTERNEURON_DIVISOR_ROOT, INTERNEURON_INDEPENDENT,
    INTERNEURON_LAYER_NORM, INTERNEURON_MATCHED,
};
pub use state::{
    interneuron_layer_get_state, interneuron_layer_set_state, interneuron_layer_state_count,
    interneuron_layer_state_name, interneuron_layer_state_size, interneuron_network_get_state,
    interneuron_network_set_state, interneuron_network_state_count, interneuron_network_state_name,
    interneuron_network_state_size,
};
pub use status::{
    INTERNEURON_BUSY, INTERNEURON_DIVERGED, INTERNEURON_FILE, INTERNEURON_INTERNAL, INTERNEURON_INVALID_ARGUMENT,
    INTERNEURON_INVALID_HANDLE, INTERNEURON_MISALIGNED, INTERNEURON_NULL_POINTER, INTERNEURON_OK,
    INTERNEURON_OUT_OF_RESOURCES, INTERNEURON_OVERLAP, INTERNEURON_UNSUPPORTED, INTERNEURON_WRONG_ORDER,
    interneuron_last_error,
};
pub use targets::{
    INTERNEURON_BINARY, INTERNEURON_LABELS, INTERNEURON_PROBABILITIES, INTERNEURON_VALUES, Loss, LossF64, TargetConfig,
    interneuron_network_evaluate_target, interneuron_network_evaluate_target_strided, interneuron_network_train_target,
    interneuron_network_train_target_strided, interneuron_network_train_with, interneuron_network_train_with_f64,
    interneuron_network_train_with_strided,
};
