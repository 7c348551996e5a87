// SPDX-License-Identifier: Apache-2.0
// The API's Unix socket, api.sock in a coordinator's state directory. A socket's address holds 107
// bytes of path, so both ends name it through a descriptor of the directory, however deep it lies.
#pragma once

#include <filesystem>

#include <sys/types.h>

#include "cluster/base/file.h"
#include "coordinator/api/service.h"

namespace talaria::coordinator {

inline constexpr const char* kSocketName = "api.sock";

// A non-blocking listening socket, put in the place of one that a dead coordinator left. The caller
// holds the directory's lock. `mode`: of the socket file.
UniqueFd listen_on_socket(const std::filesystem::path& state_directory, mode_t mode);

// A connected, non-blocking socket; nothing where nobody listens or the user may not connect.
UniqueFd connect_to_socket(const std::filesystem::path& state_directory);

// Who is at the other end.
User peer_of(int socket);

}  // namespace talaria::coordinator
