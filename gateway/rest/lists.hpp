#pragma once

#include "gateway/rest/filter.hpp"
#include "gateway/rest/request.hpp"
#include "gateway/visible_urls.hpp"

namespace troupe {

/// A JSON list in the making.
class json_list {
public:
  json_list() : text_{"["} {}
  std::string& next() {
    if (text_.size() > 1) text_ += ',';
    return text_;
  }
  void url(std::string_view collection, std::string_view name) {
    auto& out = next();
    write_json_string(out, std::string{collection} + std::string{name});
  }
  std::string take() && { return std::move(text_) + "]"; }

private:
  std::string text_;
};

inline void write_string_list(std::string& out, std::string_view name, const std::vector<std::string>& items) {
  write_json_name(out, name);
  out += '[';
  for (size_t i = 0; i < items.size(); ++i) {
    if (i) out += ',';
    write_json_string(out, items[i]);
  }
  out += ']';
}

inline void write_used_by(std::string& out, const principal& who, std::vector<std::string> urls) {
  write_string_list(out, "used_by", visible_urls(who, std::move(urls)));
}

inline void write_map(std::string& out, std::string_view name, const config_map& map) {
  write_json_name(out, name);
  out += '{';
  for (auto& [key, value] : map) {
    write_json_name(out, key);
    write_json_string(out, value);
  }
  out += '}';
}

} // namespace troupe
