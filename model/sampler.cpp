// SPDX-License-Identifier: Apache-2.0
#include "model/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "cluster/base/error.h"
#include "model/cpu/exponential.h"
#include "model/philox.h"

namespace talaria::model {
namespace {

// Logits whose exponentials are added up at once. Sums of blocks meet in ascending order.
constexpr std::size_t kBlock = 1024;
// A word of the Philox counter that no dropout site's step reaches (model/philox.h).
constexpr std::uint32_t kSamplerStep = 0xFFFFFFFFU;
// The likeliest that are looked at first for a nucleus, and by what that grows.
constexpr std::size_t kFirstNucleus = 256;
constexpr std::size_t kNucleusGrowth = 8;

struct Candidate {
  float logit;
  std::int32_t id;
};
bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The `count` likeliest, likeliest first; of equals the smaller ids.
std::vector<Candidate> likeliest(std::span<const float> logits, std::size_t count) {
  std::vector<Candidate> kept;
  if (count * 4 >= logits.size()) {
    kept.reserve(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      kept.push_back({logits[i], static_cast<std::int32_t>(i)});
    }
    std::partial_sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(count), kept.end(),
                      likelier);
    kept.resize(count);
    return kept;
  }
  // A heap with the unlikeliest on top. Ids ascend, so an equal logit comes too late.
  kept.reserve(count + 1);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (kept.size() == count && !(logits[i] > kept.front().logit)) continue;
    kept.push_back({logits[i], static_cast<std::int32_t>(i)});
    std::push_heap(kept.begin(), kept.end(), likelier);
    if (kept.size() <= count) continue;
    std::pop_heap(kept.begin(), kept.end(), likelier);
    kept.pop_back();
  }
  std::sort_heap(kept.begin(), kept.end(), likelier);
  return kept;
}

// The exponentials of all logits, known by the sums of their blocks.
class Distribution {
 public:
  Distribution(std::span<const float> logits, double highest, double factor)
      : logits_(logits), highest_(highest), factor_(factor) {
    for (std::size_t first = 0; first < logits.size(); first += kBlock) {
      sums_.push_back(weigh(first, nullptr));
      total_ += sums_.back();
    }
  }

  double total() const { return total_; }

  // The id in whose part of the total `target` falls, ids ascending.
  std::int32_t at(double target) const {
    std::size_t block = 0;
    while (block + 1 < sums_.size() && target >= sums_[block]) target -= sums_[block++];
    // What rounding leaves over belongs to the last block that has any weight.
    while (block > 0 && sums_[block] == 0.0) --block;
    std::array<double, kBlock> weights;
    const std::size_t first = block * kBlock;
    const std::size_t count = std::min(kBlock, logits_.size() - first);
    weigh(first, weights.data());
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (weights[i] == 0.0) continue;
      chosen = i;
      target -= weights[i];
      if (target < 0.0) break;
    }
    return static_cast<std::int32_t>(first + chosen);
  }

 private:
  double weigh(std::size_t first, double* weights) const {
    const std::size_t count = std::min(kBlock, logits_.size() - first);
    return cpu::exp_weights(logits_.data() + first, static_cast<std::int64_t>(count), highest_,
                            factor_, weights);
  }

  std::span<const float> logits_;
  double highest_;
  double factor_;
  std::vector<double> sums_;
  double total_ = 0.0;
};

// The leading candidates that may be drawn, with their weights.
struct Nucleus {
  std::vector<Candidate> candidates;
  std::vector<double> weights;
  double total = 0.0;
  bool reached = false;  // false: the sum asked for lies beyond the candidates
};

// The fewest of `candidates` whose weights reach `wanted`, at least one.
Nucleus cut(std::vector<Candidate> candidates, double highest, double factor, double wanted) {
  Nucleus nucleus;
  std::vector<float> logits;
  logits.reserve(candidates.size());
  for (const Candidate& candidate : candidates) logits.push_back(candidate.logit);
  nucleus.weights.resize(candidates.size());
  cpu::exp_weights(logits.data(), static_cast<std::int64_t>(logits.size()), highest, factor,
                   nucleus.weights.data());
  std::size_t count = 0;
  while (count < candidates.size() && !nucleus.reached) {
    nucleus.total += nucleus.weights[count++];
    nucleus.reached = nucleus.total >= wanted;
  }
  candidates.resize(count);
  nucleus.candidates = std::move(candidates);
  return nucleus;
}

double sum_of(const std::vector<Candidate>& candidates, double highest, double factor) {
  return cut(candidates, highest, factor, HUGE_VAL).total;
}

Nucleus nucleus_of(std::span<const float> logits, const SamplerOptions& options, double highest,
                   double factor, const Distribution& whole) {
  if (options.top_k > 0) {
    const auto k = std::min(logits.size(), static_cast<std::size_t>(options.top_k));
    std::vector<Candidate> kept = likeliest(logits, k);
    const double wanted =
        options.top_p < 1.0 ? options.top_p * sum_of(kept, highest, factor) : HUGE_VAL;
    return cut(std::move(kept), highest, factor, wanted);
  }
  const double wanted = options.top_p * whole.total();
  for (std::size_t count = std::min(kFirstNucleus, logits.size());;
       count = std::min(count * kNucleusGrowth, logits.size())) {
    Nucleus nucleus = cut(likeliest(logits, count), highest, factor, wanted);
    if (nucleus.reached || count == logits.size()) return nucleus;
  }
}

std::int32_t draw_from(const Nucleus& nucleus, double uniform) {
  double left = uniform * nucleus.total;
  std::size_t i = 0;
  while (i + 1 < nucleus.candidates.size()) {
    left -= nucleus.weights[i];
    if (left < 0.0 || nucleus.weights[i + 1] == 0.0) break;
    ++i;
  }
  return nucleus.candidates[i].id;
}

double uniform_of(std::uint64_t seed, std::uint64_t key, std::int64_t position) {
  const PhiloxBlock words =
      philox4x32({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(key),
                  static_cast<std::uint32_t>(key >> 32), kSamplerStep},
                 seed);
  return static_cast<double>(words[0]) * 0x1p-32;
}

std::int32_t choose(std::span<const float> logits, const SamplerOptions& options, float highest,
                    double factor, const Distribution& whole, double uniform) {
  if (options.temperature == 0.0) {
    return static_cast<std::int32_t>(std::find(logits.begin(), logits.end(), highest) -
                                     logits.begin());
  }
  if (options.top_k > 0 || options.top_p < 1.0) {
    return draw_from(nucleus_of(logits, options, highest, factor, whole), uniform);
  }
  return whole.at(uniform * whole.total());
}

}  // namespace

Drawn draw(std::span<const float> logits, const SamplerOptions& options, std::uint64_t key,
           std::int64_t position) {
  TALARIA_CHECK(!logits.empty(), "no logits");
  TALARIA_CHECK(options.temperature >= 0.0 && options.top_k >= 0 && options.top_p > 0.0,
                "temperature {}, top_k {}, top_p {}", options.temperature, options.top_k,
                options.top_p);
  const float highest = cpu::highest(logits.data(), static_cast<std::int64_t>(logits.size()));
  const double factor = options.temperature == 0.0 ? 1.0 : 1.0 / options.temperature;
  const Distribution whole(logits, highest, factor);
  // A NaN or an infinite maximum makes the sum a NaN.
  if (!std::isfinite(whole.total())) {
    fail("token {} cannot be drawn: a logit is not a number or infinite; the weights are damaged",
         position);
  }
  Drawn drawn;
  drawn.id =
      choose(logits, options, highest, factor, whole, uniform_of(options.seed, key, position));
  const double below = static_cast<double>(logits[static_cast<std::size_t>(drawn.id)]) - highest;
  drawn.logprob = static_cast<float>(factor * below - std::log(whole.total()));
  return drawn;
}

}  // namespace talaria::model
