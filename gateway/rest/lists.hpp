#pragma once

#include "gateway/rest/filter.hpp"
#include "gateway/rest/request.hpp"

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

/// URLs of things, without those of projects that the caller may not see.
inline void write_used_by(std::string& out, const principal& who, std::vector<std::string> urls) {
  constexpr std::string_view mark = "?project=";
  std::erase_if(urls, [&](const std::string& url) {
    auto at = url.find(mark);
    return !who.may_see(at == url.npos ? std::string_view{"default"} : std::string_view{url}.substr(at + mark.size()));
  });
  write_string_list(out, "used_by", urls);
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
