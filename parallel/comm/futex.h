// SPDX-License-Identifier: Apache-2.0
// Sleeping on a 32-bit word in memory that threads or processes share. Never spins.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace talaria::parallel {

using FutexWord = std::atomic<std::uint32_t>;
static_assert(FutexWord::is_always_lock_free && sizeof(FutexWord) == 4);

// Returns when `word` no longer holds `seen`, on a wake, after `timeout`, or for no reason: the
// caller looks again.
void futex_wait(const FutexWord& word, std::uint32_t seen, std::chrono::milliseconds timeout);

// Wakes all sleepers. Store the new value first, with release order.
void futex_wake_all(const FutexWord& word);

}  // namespace talaria::parallel
