#pragma once

#include "messages/error.hpp"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// LXD's `filter` parameter: `[not] FIELD eq|ne VALUE` joined by and/or, evaluated left to right (rest-api section 4).
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
  };
  static bool holds(const term& t, const nlohmann::json& object);
  std::vector<term> terms_;
};

} // namespace troupe
