// SPDX-License-Identifier: Apache-2.0
// The end of the model, on the last stage: ln_f, and what turns its output into a loss. A head
// takes the gradients of its objective in the forward pass, where the numbers are at hand.
#pragma once

#include <vector>

#include "model/batch.h"
#include "model/block.h"
#include "model/objective.h"

namespace talaria::model {

// What a micro-batch's forward leaves for its backward.
struct HeadContext {
  TensorView x;           // [BT, C] input; a view of the last block's output, or the stage's input
  TensorView mean, rstd;  // [BT] of ln_f
  TensorView kept;        // [BT, C] gradient of ln_f's output; of a scalar head the output itself
  TensorView d_values;    // [BT] gradient of a scalar head's values
  HostBuffer<float> buffer;
};

// One pass over a data rank's batch: what is asked of the head, and what it answers.
struct HeadPass {
  const Batch* batch = nullptr;
  PassObjective objective;
  std::vector<double> losses;  // [samples] f64 sums, not divided
  std::vector<float> nll;      // [samples, T]; of a language model
  std::vector<float> entropy;  // [samples, T]; where somebody wants it, else empty
  std::vector<float> values;   // [samples, T]; of a scalar head
};

class Head {
 public:
  virtual ~Head() = default;
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  HeadContext make_context() const;
  std::int64_t context_count() const;

  // Sizes the answers of a pass; a training pass begins with zero gradients.
  virtual void begin(const StepContext& step, HeadPass& pass) = 0;
  // Answers for one micro-batch; in training also prepares backward(). Micro-batches come in
  // ascending order. Collective over tensor.
  virtual void forward(LayerResources& r, const StepContext& step, const MicroBatch& batch,
                       HeadContext& ctx, HeadPass& pass) = 0;
  // d [BT, C] += gradient of ctx.x.
  virtual void backward(LayerResources& r, const HeadContext& ctx, TensorView d) = 0;

  // After the last forward of a sample group in training.
  virtual void finish_group(const Stream&) {}
  // Gradient of the tied embedding as a head, kept apart from the one as an embedding:
  // [V, Vocab/Vall, C]; nullptr where the head is not tied.
  virtual float* tied_gradient() { return nullptr; }
  virtual std::int64_t gradient_bytes() const { return 0; }

 protected:
  // Declares ln_f.
  Head(const StageSetup& setup, Parameters& parameters, TokenSums& token_sums);

  void normalise(LayerResources& r, ConstTensorView x, TensorView y, TensorView mean,
                 TensorView rstd) const;
  // d += gradient of ctx.x, from that of ln_f's output.
  void normalise_backward(LayerResources& r, ConstTensorView d_normed, const HeadContext& ctx,
                          TensorView d) const;
  const StageSetup& setup() const { return setup_; }

 private:
  StageSetup setup_;
  std::int64_t gain_;
  std::int64_t bias_;
  std::size_t gain_sums_;
  std::size_t bias_sums_;
};

}  // namespace talaria::model
