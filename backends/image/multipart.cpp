#include "backends/image/image_files.hpp"
#include "backends/image/image_store.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace troupe {
namespace {

constexpr size_t scan_block = 1 << 20;
constexpr size_t headers_max = 16 << 10;
constexpr size_t boundary_max = 70; // RFC 2046
constexpr size_t filename_max = 255;

tl::unexpected<error> malformed(const std::string& why) {
  return fail(fault::invalid, "The uploaded image form is malformed: " + why);
}

bool same_word(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// `value; name=token; name="quoted \" string"`: the value first, then each parameter.
struct header_value {
  std::string_view value;
  config_map parameters;
};

outcome<std::string> take_quoted(std::string_view& rest) {
  std::string out;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') return rest.remove_prefix(i + 1), out;
    if (rest[i] == '\\' && i + 1 < rest.size() && (rest[i + 1] == '"' || rest[i + 1] == '\\')) ++i;
    out += rest[i];
  }
  return malformed("an open quotation mark");
}

outcome<header_value> parse_value(std::string_view text) {
  header_value out;
  auto cut = std::min(text.find(';'), text.size());
  out.value = trimmed(text.substr(0, cut));
  auto rest = text.substr(cut);
  while (!(rest = trimmed(rest)).empty()) {
    if (rest.front() != ';') return malformed("a stray character in a header");
    rest = trimmed(rest.substr(1));
    if (rest.empty()) break;
    auto equals = rest.find('=');
    if (equals == rest.npos) return malformed("a header parameter without a value");
    std::string name{trimmed(rest.substr(0, equals))};
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    rest = trimmed(rest.substr(equals + 1));
    std::string value;
    if (rest.starts_with('"')) {
      auto quoted = take_quoted(rest);
      if (!quoted) return tl::unexpected{quoted.error()};
      value = std::move(*quoted);
    } else {
      auto end = std::min(rest.find(';'), rest.size());
      value = trimmed(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    if (!out.parameters.emplace(std::move(name), std::move(value)).second)
      return malformed("a header parameter given twice");
  }
  return out;
}

outcome<std::string> boundary_of(std::string_view content_type) {
  auto type = parse_value(content_type);
  if (!type) return tl::unexpected{type.error()};
  if (!same_word(type->value, "multipart/form-data")) return malformed("its content type is not multipart/form-data");
  std::string out{get(type->parameters, "boundary")};
  if (out.empty() || out.size() > boundary_max || out.find_first_of("\r\n") != out.npos)
    return malformed("it names no usable boundary");
  return out;
}

/// Where `needle` starts at or after `from`; memory does not grow with the body.
outcome<uint64_t> find(const unique_fd& body, uint64_t from, std::string_view needle) {
  std::vector<char> block(scan_block);
  size_t held = 0; // the end of the last block, where a needle may have begun
  for (uint64_t at = from;;) {
    auto n = read_at(body, at, block.data() + held, block.size() - held);
    if (!n) return tl::unexpected{n.error()};
    const size_t have = held + *n;
    if (const auto* hit = static_cast<const char*>(memmem(block.data(), have, needle.data(), needle.size())))
      return at - held + static_cast<uint64_t>(hit - block.data());
    if (*n == 0) return malformed("it ends early");
    at += *n;
    held = std::min(have, needle.size() - 1);
    std::memmove(block.data(), block.data() + have - held, held);
  }
}

struct part {
  std::string name, filename;
  uint64_t begin = 0, end = 0; // of the content
  bool last = false;
};

class form_reader {
public:
  form_reader(const unique_fd& body, std::string boundary) : body_{body}, delimiter_{"\r\n--" + std::move(boundary)} {}

  /// The body starts with the delimiter, without the line end that precedes all later ones.
  outcome<void> begin() {
    auto text = peek(0, delimiter_.size() - 2);
    if (!text) return tl::unexpected{text.error()};
    if (*text != std::string_view{delimiter_}.substr(2)) return malformed("it does not start with its boundary");
    at_ = text->size();
    return {};
  }

  outcome<part> next() {
    auto head = peek(at_, headers_max);
    if (!head) return tl::unexpected{head.error()};
    if (!head->starts_with("\r\n")) return malformed("its parts do not follow one another");
    auto end = head->find("\r\n\r\n");
    if (end == head->npos) return malformed("the headers of a part do not end");
    part out;
    if (auto ok = read_headers(std::string_view{*head}.substr(0, end), out); !ok) return tl::unexpected{ok.error()};
    out.begin = at_ + end + 4;
    // An empty part's delimiter shares the line end of its headers.
    auto stop = find(body_, out.begin - 2, delimiter_);
    if (!stop) return tl::unexpected{stop.error()};
    if (*stop < out.begin) return malformed("a part is empty");
    out.end = *stop;
    at_ = *stop + delimiter_.size();
    auto after = peek(at_, 2);
    if (!after) return tl::unexpected{after.error()};
    out.last = *after == "--";
    return out;
  }

private:
  outcome<std::string> peek(uint64_t at, size_t count) {
    std::string out(count, '\0');
    auto n = read_at(body_, at, out.data(), count);
    if (!n) return tl::unexpected{n.error()};
    out.resize(*n);
    return out;
  }

  static outcome<void> read_headers(std::string_view lines, part& out) {
    bool found = false;
    while (!lines.empty()) {
      lines.remove_prefix(2);
      auto line = lines.substr(0, lines.find("\r\n"));
      lines.remove_prefix(line.size());
      auto colon = line.find(':');
      if (colon == line.npos || colon == 0) return malformed("a part has a header without a name");
      if (!same_word(trimmed(line.substr(0, colon)), "Content-Disposition")) continue;
      auto value = parse_value(line.substr(colon + 1));
      if (!value) return tl::unexpected{value.error()};
      if (found || !same_word(value->value, "form-data")) return malformed("a part is no form data");
      found = true;
      out.name = get(value->parameters, "name");
      out.filename = get(value->parameters, "filename");
    }
    if (!found) return malformed("a part has no Content-Disposition");
    return {};
  }

  const unique_fd& body_;
  std::string delimiter_;
  uint64_t at_ = 0;
};

outcome<std::string> plain_filename(std::string_view name) {
  auto out = name.substr(name.find_last_of("/\\") + 1); // npos + 1 is 0
  if (out.size() > filename_max ||
      std::any_of(out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return malformed("a file name is too long or has control characters");
  return std::string{out};
}

outcome<unique_fd> copied(const unique_fd& body, const part& from, const std::string& spool_dir) {
  auto file = unnamed_file(spool_dir);
  if (!file) return file;
  if (auto ok = copy_range(body, from.begin, from.end - from.begin, *file); !ok) return tl::unexpected{ok.error()};
  return file;
}

} // namespace

outcome<image_upload> split_multipart(const unique_fd& body, std::string_view content_type,
                                      const std::string& spool_dir) {
  auto boundary = boundary_of(content_type);
  if (!boundary) return tl::unexpected{boundary.error()};
  form_reader form{body, std::move(*boundary)};
  if (auto ok = form.begin(); !ok) return tl::unexpected{ok.error()};
  auto metadata = form.next();
  if (!metadata) return tl::unexpected{metadata.error()};
  if (metadata->name != "metadata") return malformed("its first part must be \"metadata\"");
  if (metadata->last) return malformed("it has no root file system");
  auto rootfs = form.next();
  if (!rootfs) return tl::unexpected{rootfs.error()};
  if (rootfs->name != "rootfs" && rootfs->name != "rootfs.img")
    return malformed("its second part must be \"rootfs\" or \"rootfs.img\"");
  if (!rootfs->last) return malformed("it has more than two parts");

  image_upload out;
  auto filename = plain_filename(rootfs->filename);
  if (!filename) return tl::unexpected{filename.error()};
  out.filename = std::move(*filename);
  // All of the form is understood before the first byte is copied.
  auto first = copied(body, *metadata, spool_dir);
  if (!first) return tl::unexpected{first.error()};
  auto second = copied(body, *rootfs, spool_dir);
  if (!second) return tl::unexpected{second.error()};
  out.metadata = std::move(*first);
  out.rootfs = std::move(*second);
  return out;
}

} // namespace troupe
