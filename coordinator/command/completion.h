// SPDX-License-Identifier: Apache-2.0
// Shell completion, generated from the app itself.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace talaria::coordinator {

// `shell` is "bash", "zsh" or "fish".
std::string completion_text(const CLI::App& app, const std::string& shell);

}  // namespace talaria::coordinator
