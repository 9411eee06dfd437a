//! Reads the input of an import section by section.

use std::sync::Arc;

use crate::load::chunk::encoder::{ChunkEncoder, EncoderSummary};
use crate::load::chunk::section::{Section, SectionLimit};
use crate::load::chunk::stream::ChunkStream;
use crate::progress::Progress;
use crate::{Error, Result};

/// The input of an import, at one of its sections. After an error it is not to be used again.
pub(super) struct ImportReader {
    /// `None` while it encodes a section.
    encoder: Option<Box<ChunkEncoder>>,
    /// The encoded section; `None` unless it was asked for.
    stream: Option<ChunkStream>,
    /// The section; `None` until it is read.
    section: Option<Section>,
    progress: Arc<Progress>,
}

impl ImportReader {
    /// The input of `encoder`, before its first section.
    pub(super) fn new(encoder: ChunkEncoder, progress: &Arc<Progress>) -> Self {
        let encoder = Some(Box::new(encoder));
        ImportReader { encoder, stream: None, section: None, progress: Arc::clone(progress) }
    }

    /// Go to the next section, after the whole current one was read; `false` at the end of the input.
    ///
    /// # Errors
    /// When the input cannot be read, or the load is cancelled.
    pub(super) async fn next_section(&mut self, limit: SectionLimit) -> Result<bool> {
        (self.stream, self.section) = (None, None);
        self.with_encoder(move |encoder, _| encoder.begin_section(limit)).await
    }

    /// The encoded section, from its beginning, as often as it is asked for.
    pub(super) async fn stream(&mut self) -> &ChunkStream {
        if let Some(stream) = &self.stream {
            stream.rewind().await;
        }
        let (encoder, progress) = (&mut self.encoder, &self.progress);
        self.stream.get_or_insert_with(|| {
            let encoder = encoder.take().expect("the section is not read yet");
            ChunkStream::start_keeping(*encoder, progress)
        })
    }

    /// The section, read to its end.
    ///
    /// # Errors
    /// When the input cannot be read, a record cannot be encoded, or the load is cancelled.
    pub(super) async fn section(&mut self) -> Result<Section> {
        if let Some(section) = &self.section {
            return Ok(section.clone());
        }
        let section = if let Some(stream) = &self.stream {
            while stream.next().await?.is_some() {}
            let mut encoder = stream.encoder().await.expect("it is taken once");
            let section = encoder.end_section();
            self.encoder = Some(Box::new(encoder));
            section
        } else {
            self.with_encoder(ChunkEncoder::skip_section).await?
        };
        Ok(self.section.insert(section).clone())
    }

    /// What the encoder tells at its end.
    pub(super) fn into_summary(self) -> EncoderSummary {
        self.encoder.map_or_else(EncoderSummary::default, |encoder| encoder.into_summary())
    }

    /// Let the encoder do `work` on a thread of its own.
    async fn with_encoder<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut ChunkEncoder, &Progress) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut encoder = self.encoder.take().expect("the section is read");
        let progress = Arc::clone(&self.progress);
        let task = tokio::task::spawn_blocking(move || {
            let result = work(&mut encoder, &progress);
            (encoder, result)
        });
        tokio::select! {
            done = task => {
                let (encoder, result) = done.expect("reading neither panics nor is aborted");
                self.encoder = Some(encoder);
                result
            }
            // It may wait for input that never comes.
            () = self.progress.cancelled() => Err(Error::interrupted()),
        }
    }
}
