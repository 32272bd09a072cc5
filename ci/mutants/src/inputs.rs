//! What a run is given, which is where faults are applied.

use std::{collections::BTreeMap, fmt::Debug};

use harness::{
    Error, Result,
    engine::Case,
    sandbox::{File, Scc, pod_template::PodTemplate},
};

use crate::{external_writer::ExternalWriter, object_patch::ObjectPatch};

/// One way to break a run.
pub(crate) trait Fault: Debug + Sync {
    /// Breaks the inputs of a run.
    ///
    /// # Errors
    ///
    /// What it is to break does not exist.
    fn apply(&self, inputs: &mut RunInputs) -> Result<()>;
}

/// What a run is given.
#[derive(Debug)]
pub(crate) struct RunInputs {
    /// The pods, by name.
    pub(crate) templates: BTreeMap<&'static str, PodTemplate>,
    /// Cases that only send a pod, each with the name of the pod that it sends instead.
    pub(crate) substituted_pods: Vec<(&'static str, &'static str)>,
    /// The files of every pod.
    pub(crate) files: Vec<File>,
    /// The SCC that admits the pods; `None` for nestcheck's own.
    pub(crate) scc: Option<Scc>,
    /// The manifests of objects that the cluster has during the run.
    pub(crate) objects: Vec<&'static str>,
    /// Changes of the cluster's own objects during the run.
    pub(crate) patches: Vec<ObjectPatch>,
    /// Who writes to the run's objects from outside.
    pub(crate) writer: Option<ExternalWriter>,
}

impl RunInputs {
    /// The inputs of a run with faults.
    pub(crate) fn with(faults: &[&dyn Fault]) -> Result<Self> {
        let all = suites::fixtures::ALL_TEMPLATES.iter().chain([&&suites::fixtures::DEVWORKSPACE]);
        let mut inputs = Self {
            templates: all.map(|template| (template.name, **template)).collect(),
            substituted_pods: Vec::new(),
            files: suites::fixtures::files(),
            scc: None,
            objects: Vec::new(),
            patches: Vec::new(),
            writer: None,
        };
        faults.iter().try_for_each(|fault| fault.apply(&mut inputs))?;
        Ok(inputs)
    }

    /// The template of a pod.
    pub(crate) fn template(&mut self, name: &str) -> Result<&mut PodTemplate> {
        let template = self.templates.get_mut(name);
        template.ok_or_else(|| Error::usage(format!("there is no pod `{name}` to break")))
    }

    /// Adds a file to every pod, or replaces it.
    pub(crate) fn put_file(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.files.retain(|file| file.path != path);
        self.files.push(File {
            path: path.to_owned(),
            content: content.into(),
            architecture: None,
        });
    }

    /// All cases with these pods.
    pub(crate) fn cases(&self) -> Vec<Case> {
        // A few kilobytes of a process that soon ends.
        let ours = |name| self.templates.get(name).map(|template| &*Box::leak(Box::new(*template)));
        let templates = |case: &Case| -> &'static [&'static PodTemplate] {
            let listed = case.pods.iter().map(|template| ours(template.name).unwrap_or(template));
            let substituted = self.substituted_pods.iter().filter(|(id, _)| *id == case.id);
            listed.chain(substituted.filter_map(|(_, name)| ours(name))).collect::<Vec<_>>().leak()
        };
        let cases = suites::cases().into_iter();
        cases.map(|case| Case { pods: templates(&case), ..case }).collect()
    }
}
