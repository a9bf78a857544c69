#include "backends/image/image_format.hpp"

namespace troupe {
namespace {

using namespace std::string_view_literals;

struct row {
  image_format format;
  size_t offset;
  std::string_view magic;
  std::string_view extension;
};

constexpr row rows[] = {
    {image_format::gzip, 0, "\x1f\x8b"sv, ".tar.gz"},
    {image_format::xz, 0,
     "\xfd"
     "7zXZ"sv,
     ".tar.xz"},
    {image_format::zstd, 0, "\x28\xb5\x2f\xfd"sv, ".tar.zst"},
    {image_format::bzip2, 0, "BZ"sv, ".tar.bz2"},
    {image_format::lzma, 0, "\x5d\0\0"sv, ".tar.lzma"},
    {image_format::squashfs, 0, "hsqs"sv, ".squashfs"},
    {image_format::qcow2, 0, "QFI\xfb"sv, ".qcow2"},
    {image_format::tar, 257, "ustar"sv, ".tar"},
};

} // namespace

image_format format_of(std::string_view head) noexcept {
  for (const auto& r : rows)
    if (head.size() >= r.offset + r.magic.size() && head.substr(r.offset, r.magic.size()) == r.magic) return r.format;
  return image_format::unknown;
}

std::string_view extension_of(image_format format) noexcept {
  for (const auto& r : rows)
    if (r.format == format) return r.extension;
  return {};
}

} // namespace troupe
