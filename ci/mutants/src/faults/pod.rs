//! The templates of pods.

use harness::{Error, Result, sandbox::pod_template::Isolation};

use crate::inputs::{Fault, RunInputs};

/// Changes the template of a pod.
#[derive(Debug)]
pub(crate) struct EditPod {
    /// The pod's name.
    pub(crate) pod: &'static str,
    /// Texts of its manifest, and what replaces them. Each must exist, so that no change is lost.
    pub(crate) replace: &'static [(&'static str, &'static str)],
    /// Its other isolation: `Unchecked` where the pod is not to be verified.
    pub(crate) isolation: Option<Isolation>,
    /// Whether it gets devices, if that changes.
    pub(crate) devices: Option<bool>,
}

impl EditPod {
    /// Changes only texts.
    pub(crate) const fn new(
        pod: &'static str,
        replace: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { pod, replace, isolation: None, devices: None }
    }

    /// Changes texts of a pod that is then not verified.
    pub(crate) const fn unchecked(
        pod: &'static str,
        replace: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { isolation: Some(Isolation::Unchecked), ..Self::new(pod, replace) }
    }
}

impl Fault for EditPod {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        let template = inputs.template(self.pod)?;
        let mut manifest = template.manifest.to_owned();
        for (from, to) in self.replace {
            if !manifest.contains(from) {
                return Err(Error::usage(format!("{} has no `{from}` to break", template.file)));
            }
            manifest = manifest.replace(from, to);
        }
        // A few kilobytes of a process that soon ends; templates are otherwise constants.
        template.manifest = manifest.leak();
        template.isolation = self.isolation.unwrap_or(template.isolation);
        template.devices = self.devices.unwrap_or(template.devices);
        Ok(())
    }
}

/// Lets a case send a pod that is otherwise not its own.
#[derive(Debug)]
pub(crate) struct SubstitutePod {
    /// The case's id.
    pub(crate) case: &'static str,
    /// The pod's name.
    pub(crate) pod: &'static str,
}

impl Fault for SubstitutePod {
    fn apply(&self, inputs: &mut RunInputs) -> Result<()> {
        inputs.substituted_pods.push((self.case, self.pod));
        Ok(())
    }
}
