// SPDX-License-Identifier: Apache-2.0
// The part of a GPT that one rank computes: its pipeline stage's layers, its tensor shards of them.
// The pipeline runner drives it micro-batch by micro-batch; gradients end up in
// parameters().gradients().
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "model/batch.h"
#include "model/block.h"
#include "model/embedding.h"
#include "model/lm_head.h"
#include "parallel/runner.h"

namespace talaria::model {

// FLOPs of a forward pass of each unit that a pipeline may be cut between: the blocks, then the
// head.
std::vector<double> unit_costs(const GptConfig& config, std::int64_t length, HeadKind head);

// Fills first_layer and last_layer of a setup whose other fields are set. The cut is the same on
// all ranks.
void assign_layers(StageSetup& setup);

// What of a stage's memory is what, in bytes.
struct StageMemory {
  std::int64_t weights = 0;
  std::int64_t gradients = 0;    // with the accumulators of groups and token sums
  std::int64_t activations = 0;  // contexts allocated so far
  std::int64_t scratch = 0;
};

class GptStage : public parallel::Stage {
 public:
  // Both must outlive the stage. `stream.matmul_flops` may be set. A frozen stage is begun without
  // training.
  GptStage(const StageSetup& setup, parallel::Communicator& tensor, Stream stream);

  // Before a schedule: the step, the samples of this data rank, whole micro-batches of T tokens a
  // row, and what the head is asked for. A training step takes samples_per_rank() samples and an
  // objective, which must outlive the schedule; only the last stage looks at it.
  void begin(const StepContext& step, const Batch& batch, const PassObjective& objective = {});
  // After a training schedule: gradients hold this rank's sum over its samples.
  void finish();

  TensorView input(int micro_batch) override;
  TensorView output(int micro_batch) override;
  TensorView output_gradient(int micro_batch) override;
  TensorView input_gradient(int micro_batch) override;
  void open(int micro_batch) override;
  void forward(int micro_batch) override;
  void backward(int micro_batch) override;
  void close(int micro_batch) override;

  // On the last stage, after a pass over this data rank's batch; empty elsewhere. The f64 sum of
  // each sample's losses, not divided by anything.
  std::span<const double> sample_losses() const { return pass_.losses; }
  // [samples, T] -log p(target) in nats, and where the pass wanted it the distribution's entropy.
  std::span<const float> token_nll() const { return pass_.nll; }
  std::span<const float> token_entropy() const { return pass_.entropy; }
  // [samples, T] a scalar head's values.
  std::span<const float> token_values() const { return pass_.values; }
  // On a stage that is first and last: the tied embedding's gradient as a head, which the optimizer
  // adds after both were reduced; nullptr elsewhere and where the head is not tied.
  float* separate_head_gradient();

  const StageSetup& setup() const { return setup_; }
  Parameters& parameters() { return parameters_; }
  ThreadPool& pool() const { return *stream_.pool; }
  const Stream& stream() const { return stream_; }
  bool holds_tokens() const { return setup_.holds_tokens(); }
  // Whether another stage of the pipeline holds tok_embed too.
  bool shares_tokens() const {
    return holds_tokens() && setup_.tied() && setup_.layout.pipeline > 1;
  }
  // Offset and elements of tok_embed in the flat buffer.
  std::int64_t tokens_offset() const { return tokens_offset_; }
  std::int64_t tokens_count() const;
  StageMemory memory() const;

  // Inference, beside whatever schedule runs. x [R, C]: on the first stage filled from `ids` [R],
  // elsewhere the output of the stage below; becomes this stage's output. `caches`: one a layer of
  // this stage. Collective over tensor.
  void infer(const SequenceRows& rows, IdView ids, std::span<const LayerCache> caches,
             TensorView x);
  // On the last stage: the logits of rows x [R, C] of its output, [all V, R, Vocab/Vall], padding
  // included, the same on all tensor ranks; valid until the stage's next call. Collective over
  // tensor.
  ConstTensorView infer_logits(TensorView x);

 private:
  struct Context {
    HostBuffer<float> input;     // [BT, C]; the embedding's output on the first stage
    HostBuffer<float> gradient;  // [BT, C]; of the output, then of each layer's input
    std::vector<HostBuffer<float>> buffers;
    std::vector<BlockContext> blocks;
    std::optional<HeadContext> head;
  };
  void add_head();
  std::size_t buffered_layers() const;  // whose activations a context holds
  std::unique_ptr<Context> make_context() const;
  Context& live(int micro_batch);
  TensorView tokens_view(HostBuffer<float>& buffer) const;
  MicroBatch micro_batch_view(int micro_batch) const;
  LayerResources resources();
  bool ends_group(int micro_batch) const;

  StageSetup setup_;
  parallel::Communicator& tensor_;
  Stream stream_;
  Parameters parameters_;
  TokenSums token_sums_;
  Arena arena_;
  std::int64_t tokens_offset_ = 0;
  std::optional<EmbeddingLayer> embedding_;
  std::vector<TransformerBlock> layers_;
  std::unique_ptr<Head> head_;
  LanguageModelHead* language_head_ = nullptr;  // head_, if it is one
  std::optional<GroupFold> fold_;

  StepContext step_;
  Batch batch_;
  std::vector<std::int32_t> positions_;  // [samples, T]
  HeadPass pass_;
  std::map<int, std::unique_ptr<Context>> live_;
  std::vector<std::unique_ptr<Context>> free_;
  std::int64_t contexts_made_ = 0;
};

}  // namespace talaria::model
