//! The trial by which KVM is judged can succeed: under emulation, which works everywhere.
use e2e::{accel::Accelerator, artifacts, lab::Parts};

mod in_a_vm {
    use super::*;

    /// Without this, a broken trial would only ever say that KVM does not work.
    #[test]
    fn a_stock_kernel_passes_the_trial_under_emulation() {
        let parts = Parts::build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kernel = artifacts::kernel(&parts.workspace).unwrap();
        Accelerator::Emulation.boots(&kernel, folder.path()).unwrap();
    }
}
