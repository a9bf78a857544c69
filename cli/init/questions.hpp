#pragma once

#include "cli/init/standard.hpp"

#include <functional>
#include <iosfwd>
#include <nlohmann/json_fwd.hpp>

namespace troupe {

/// A conversation on two streams. Every question shows its default; an empty line takes it. Nonsense is asked again;
/// the end of the input is an error.
class questions {
public:
  questions(std::istream& in, std::ostream& out) : in_{in}, out_{out} {}

  /// `check` returns what is wrong with an answer, or an empty text.
  outcome<std::string> text(const std::string& question, const std::string& fallback,
                            const std::function<std::string(const std::string&)>& check);
  outcome<bool> yes_no(const std::string& question, bool fallback);

private:
  std::istream& in_;
  std::ostream& out_;
};

/// Asks for the set-up in the order of `lxd init`; see preseed.hpp for its shape. `dir`: where a loop file would lie.
outcome<nlohmann::json> ask_setup(questions& ask, const surroundings& found, const std::string& dir);

} // namespace troupe
