// SPDX-License-Identifier: Apache-2.0
// Data-parallel gradient reduction and ZeRO-1 (Rajbhandari et al. 2020, arXiv:1910.02054). A flat
// buffer holds blocks of rows; of every block, data rank i owns rows row_block(rows, dp, i). Sums
// are balanced trees over the data ranks, with or without sharding, so both give the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/device/buffer.h"
#include "parallel/box.h"
#include "parallel/communicator.h"

namespace talaria::parallel {

// rows x cols elements at `offset` of the flat buffer.
struct FlatBlock {
  std::int64_t offset = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

// The rows of block `block` that one data rank owns.
struct Piece {
  std::size_t block = 0;
  RowRange rows;
  std::int64_t offset = 0;  // of the first owned element, in the flat buffer
  std::int64_t cols = 0;

  std::int64_t count() const { return (rows.end - rows.begin) * cols; }
};

// Pieces of data rank `index` of `ranks`, in block order; empty pieces are left out.
std::vector<Piece> owned_pieces(const std::vector<FlatBlock>& blocks, int ranks, int index);

// Moves a flat buffer's pieces between data ranks, a bounded number of bytes at a time.
class ShardExchange {
 public:
  // `data` must outlive this object.
  ShardExchange(Communicator& data, std::vector<FlatBlock> blocks);

  // On return this rank's pieces of `flat` hold the sum over data ranks; other elements are
  // unspecified. Collective over data.
  void reduce_scatter(float* flat);
  // Every rank's pieces are copied to all. Collective over data.
  void all_gather(float* flat);

  const std::vector<Piece>& pieces() const {
    return pieces_[static_cast<std::size_t>(data_.rank())];
  }
  // Elements this rank owns.
  std::int64_t owned() const;
  // Payload bytes that one reduce_scatter or one all_gather sends from each rank.
  std::int64_t bytes_sent_per_call() const;

 private:
  // Runs of pieces whose packed chunks fit the staging buffer: [first, last) per bucket and rank.
  struct Bucket {
    std::size_t first_block = 0;
    std::size_t last_block = 0;
    std::int64_t chunk = 0;  // elements a rank, the largest of all ranks
  };
  template <class Copy>
  void for_each_packed(const Bucket& bucket, const Copy& copy);

  Communicator& data_;
  std::vector<FlatBlock> blocks_;
  std::vector<std::vector<Piece>> pieces_;  // by data rank
  std::vector<Bucket> buckets_;
  HostBuffer<float> staging_;
};

}  // namespace talaria::parallel
