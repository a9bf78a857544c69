#pragma once

#include "messages/error.hpp"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// One option or positional of a command, as data.
struct argument {
  enum class kind { flag, text, required_text, positional, required_positional, words }; // words: all that follow

  const char* name; // "--timeout", "-X,--request"; a positional: "PATH". Looked up by its last part
  kind what;
  const char* help;
  const char* fallback = "";
};

/// What the user typed, after parsing: every argument of the command has a value ("true" or "" for a flag).
struct invocation {
  std::string dir; // the daemon's state folder
  std::map<std::string, std::string, std::less<>> values;
  std::vector<std::string> words; // of the argument of that kind

  const std::string& text(std::string_view name) const;
  bool flag(std::string_view name) const { return !text(name).empty(); }
  /// The value as a whole number; `fallback` when it is empty.
  outcome<long> number(std::string_view name, long fallback) const;
};

/// One row of the command table; see commands.cpp.
struct command {
  const char* name; // "image build", "config trust add": groups and a verb
  const char* summary;
  std::span<const argument> arguments;
  outcome<void> (*run)(const invocation& call);
};

/// All commands, in the order `troupe --help` shows them.
std::span<const command> commands() noexcept;

} // namespace troupe
