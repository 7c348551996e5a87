// SPDX-License-Identifier: Apache-2.0
#include "parallel/zero.h"

#include <algorithm>
#include <cstring>
#include <span>

namespace talaria::parallel {
namespace {

constexpr std::int64_t kBucketElements = std::int64_t{4} << 20;

}  // namespace

std::vector<Piece> owned_pieces(const std::vector<FlatBlock>& blocks, int ranks, int index) {
  std::vector<Piece> pieces;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const RowRange rows = row_block(blocks[b].rows, ranks, index);
    if (rows.begin == rows.end) continue;
    pieces.push_back({b, rows, blocks[b].offset + rows.begin * blocks[b].cols, blocks[b].cols});
  }
  return pieces;
}

ShardExchange::ShardExchange(Communicator& data, std::vector<FlatBlock> blocks)
    : data_(data), blocks_(std::move(blocks)) {
  const int ranks = data_.size();
  for (int r = 0; r < ranks; ++r) pieces_.push_back(owned_pieces(blocks_, ranks, r));
  if (ranks == 1) return;
  // The first rank owns the longest piece of every block, so its elements bound each chunk.
  Bucket bucket;
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    const RowRange rows = row_block(blocks_[b].rows, ranks, 0);
    const std::int64_t elements = (rows.end - rows.begin) * blocks_[b].cols;
    if (bucket.chunk > 0 && bucket.chunk + elements > kBucketElements) {
      buckets_.push_back(bucket);
      bucket = {b, b, 0};
    }
    bucket.last_block = b + 1;
    bucket.chunk += elements;
  }
  if (bucket.chunk > 0) buckets_.push_back(bucket);
  std::int64_t largest = 0;
  for (const Bucket& each : buckets_) largest = std::max(largest, each.chunk);
  staging_ = HostBuffer<float>(largest * ranks);
}

template <class Copy>
void ShardExchange::for_each_packed(const Bucket& bucket, const Copy& copy) {
  for (int rank = 0; rank < data_.size(); ++rank) {
    float* packed = staging_.data() + rank * bucket.chunk;
    for (const Piece& piece : pieces_[static_cast<std::size_t>(rank)]) {
      if (piece.block < bucket.first_block || piece.block >= bucket.last_block) continue;
      copy(rank, piece, packed);
      packed += piece.count();
    }
  }
}

namespace {

void copy_floats(float* to, const float* from, std::int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace

void ShardExchange::reduce_scatter(float* flat) {
  const int here = data_.rank();
  for (const Bucket& bucket : buckets_) {
    for_each_packed(bucket, [&](int, const Piece& piece, float* packed) {
      copy_floats(packed, flat + piece.offset, piece.count());
    });
    data_.reduce_scatter_sum(
        std::span(staging_.data(), static_cast<std::size_t>(bucket.chunk * data_.size())));
    for_each_packed(bucket, [&](int rank, const Piece& piece, const float* packed) {
      if (rank == here) copy_floats(flat + piece.offset, packed, piece.count());
    });
  }
}

void ShardExchange::all_gather(float* flat) {
  const int here = data_.rank();
  for (const Bucket& bucket : buckets_) {
    for_each_packed(bucket, [&](int rank, const Piece& piece, float* packed) {
      if (rank == here) copy_floats(packed, flat + piece.offset, piece.count());
    });
    data_.all_gather(std::as_writable_bytes(
        std::span(staging_.data(), static_cast<std::size_t>(bucket.chunk * data_.size()))));
    for_each_packed(bucket, [&](int rank, const Piece& piece, const float* packed) {
      if (rank != here) copy_floats(flat + piece.offset, packed, piece.count());
    });
  }
}

std::int64_t ShardExchange::owned() const {
  std::int64_t total = 0;
  for (const Piece& piece : pieces()) total += piece.count();
  return total;
}

std::int64_t ShardExchange::bytes_sent_per_call() const {
  std::int64_t elements = 0;
  for (const Bucket& bucket : buckets_) elements += bucket.chunk;
  return elements * (data_.size() - 1) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace talaria::parallel
