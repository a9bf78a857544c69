#include "gateway/image_export.hpp"

#include <sys/stat.h>

namespace troupe {
namespace {

uint64_t size_of(const unique_fd& file) {
  struct stat info {};
  return fstat(file.get(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

std::string form_head(const std::string& boundary, std::string_view field, const std::string& file) {
  return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + std::string{field} + "\"; filename=\"" +
         file + "\"\r\nContent-Type: application/octet-stream\r\n\r\n";
}

} // namespace

outcome<http_response> image_export(services& with, const std::string& fingerprint, bool split) {
  auto opened = with.image_files.open(fingerprint, split);
  if (!opened) return tl::unexpected{opened.error()};
  auto& files = *opened;
  http_response out;
  auto name = fingerprint + with.image_files.extension(files[0]).value_or("");
  if (files.size() == 1) {
    auto size = size_of(files[0]);
    out.headers.emplace_back("Content-Type", "application/octet-stream");
    out.headers.emplace_back("Content-Disposition", "inline;filename=" + name);
    out.body.emplace_back(file_range{std::move(files[0]), 0, size});
    return out;
  }
  auto boundary = fingerprint.substr(0, 32);
  auto rootfs_name = fingerprint + with.image_files.extension(files[1]).value_or("");
  out.headers.emplace_back("Content-Type", "multipart/form-data; boundary=" + boundary);
  auto first = size_of(files[0]), second = size_of(files[1]);
  out.body.emplace_back(form_head(boundary, "metadata", "meta-" + name));
  out.body.emplace_back(file_range{std::move(files[0]), 0, first});
  out.body.emplace_back("\r\n" + form_head(boundary, "rootfs", rootfs_name));
  out.body.emplace_back(file_range{std::move(files[1]), 0, second});
  out.body.emplace_back("\r\n--" + boundary + "--\r\n");
  return out;
}

} // namespace troupe
