#pragma once

#include "messages/error.hpp"

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace troupe {

/// LXD's `filter` parameter: `[not] FIELD eq|ne VALUE` joined by and/or, evaluated left to right (rest-api section 4).
/// A value is a pattern in RE2's syntax, which is Go's, for the whole text unless it holds ^ or $; one that is no
/// pattern is compared as it stands.
class list_filter {
public:
  /// An empty text matches everything.
  static outcome<list_filter> parse(std::string_view text);
  bool empty() const noexcept { return terms_.empty(); }
  /// `object`: what REST shows, as JSON text.
  bool matches(const std::string& object) const;

private:
  struct term {
    bool with_or = false, negated = false, not_equal = false;
    std::string field, value;
    std::shared_ptr<const re2::RE2> pattern;
  };
  static bool holds(const term& t, const nlohmann::json& object);
  std::vector<term> terms_;
};

} // namespace troupe
