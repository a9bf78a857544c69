#include "cli/image/recipe.hpp"
#include "cli/interrupt.hpp"
#include "cli/progress.hpp"
#include "cli/runs.hpp"
#include "cli/scratch_dir.hpp"
#include "cli/server.hpp"
#include "cli/sha256.hpp"

#include <cerrno>
#include <fcntl.h>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace troupe {

using nlohmann::json;

namespace {

struct part {
  std::string name; // of the form's field
  std::string file_name;
  unique_fd fd;
  uint64_t size = 0;
};

outcome<part> open_part(std::string name, const std::string& path) {
  part out{std::move(name), path.substr(path.rfind('/') + 1), unique_fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}};
  struct stat facts {};
  if (!out.fd || ::fstat(out.fd.get(), &facts) != 0) return fail_errno(errno, "Cannot open " + path);
  out.size = static_cast<uint64_t>(facts.st_size);
  return out;
}

outcome<std::vector<part>> open_parts(const image_files& files) {
  std::vector<part> out;
  auto metadata = open_part("metadata", files.metadata);
  if (!metadata) return tl::unexpected{metadata.error()};
  out.push_back(std::move(*metadata));
  if (files.rootfs.empty()) return out;
  auto rootfs = open_part(files.rootfs.ends_with(".qcow2") ? "rootfs.img" : "rootfs", files.rootfs);
  if (!rootfs) return tl::unexpected{rootfs.error()};
  out.push_back(std::move(*rootfs));
  return out;
}

outcome<std::string> fingerprint_of(const std::vector<part>& parts) {
  std::vector<int> fds;
  fds.reserve(parts.size());
  for (auto& each : parts) fds.push_back(each.fd.get());
  return sha256_of_files(fds);
}

/// One part is sent as it is, two as a form: metadata first.
http_call upload_call(const std::vector<part>& parts, const std::string& fingerprint) {
  http_call call{.method = "POST", .target = "/1.0/images"};
  call.headers = {{"X-LXD-fingerprint", fingerprint}};
  if (parts.size() == 1) {
    call.headers.emplace_back("Content-Type", "application/octet-stream");
    call.headers.emplace_back("X-LXD-filename", parts[0].file_name);
    call.body.emplace_back(body_file{parts[0].fd.get(), parts[0].size});
    return call;
  }
  const std::string boundary = "troupe-" + fingerprint.substr(0, 40); // a file cannot contain its own hash
  call.headers.emplace_back("Content-Type", "multipart/form-data; boundary=" + boundary);
  call.headers.emplace_back("X-LXD-filename", parts[1].file_name);
  for (auto& each : parts) {
    call.body.emplace_back("--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + each.name +
                           "\"; filename=\"" + each.file_name + "\"\r\nContent-Type: application/octet-stream\r\n\r\n");
    call.body.emplace_back(body_file{each.fd.get(), each.size});
    call.body.emplace_back("\r\n");
  }
  call.body.emplace_back("--" + boundary + "--\r\n");
  return call;
}

outcome<void> upload(const server& daemon, const std::vector<part>& parts, const std::string& fingerprint,
                     progress& shown) {
  if (daemon.get("/1.0/images/" + fingerprint)) {
    shown.say("the server has this image already");
    return {};
  }
  shown.step("sending");
  auto call = upload_call(parts, fingerprint);
  call.progress = [&shown](uint64_t sent, uint64_t total) {
    if (sent < total)
      shown.amount(sent, total);
    else
      shown.step("waiting for the server to import it");
  };
  auto envelope = daemon.request(call);
  auto done = envelope ? daemon.finish(*envelope) : envelope;
  if (done) return {};
  // Somebody may have sent the same image meanwhile: then there is nothing left to do.
  if (daemon.get("/1.0/images/" + fingerprint)) return {};
  return tl::unexpected{done.error()};
}

outcome<void> point_alias(const server& daemon, const std::string& alias, const std::string& fingerprint) {
  auto path = "/1.0/images/aliases/" + url_encode(alias);
  auto present = daemon.get(path);
  if (!present && present.error().code != fault::not_found) return tl::unexpected{present.error()};
  if (present && present->value("target", "") == fingerprint) return {};
  auto done = present ? daemon.change("PUT", path,
                                      {{"target", fingerprint}, {"description", present->value("description", "")}})
                      : daemon.change("POST", "/1.0/images/aliases",
                                      {{"name", alias}, {"target", fingerprint}, {"description", ""}});
  if (!done) return tl::unexpected{done.error()};
  return {};
}

outcome<const recipe*> find_recipe(const std::string& name) {
  std::string known;
  for (auto& row : recipes()) {
    if (name == row.name) return &row;
    known += (known.empty() ? "" : ", ") + std::string{row.name};
  }
  return fail(fault::invalid, "There is no recipe \"" + name + "\"; known are " + known);
}

} // namespace

outcome<void> run_image_build(const invocation& call) {
  auto chosen = find_recipe(call.text("RECIPE"));
  if (!chosen) return tl::unexpected{chosen.error()};
  bool machine = call.flag("--vm");
  auto cook = machine ? (*chosen)->cook_machine : (*chosen)->cook;
  if (!cook) return fail(fault::unsupported, "The recipe " + call.text("RECIPE") + " makes no virtual machines");
  auto alias = call.text("--alias").empty() ? call.text("RECIPE") + (machine ? "-vm" : "") : call.text("--alias");
  interrupt stop;
  server daemon{call.dir, &stop};
  if (auto up = daemon.get("/1.0"); !up) return tl::unexpected{up.error()}; // before minutes of work
  auto folder = scratch_dir::make("build");
  if (!folder) return tl::unexpected{folder.error()};
  std::string fingerprint;
  {
    progress shown{alias};
    auto files = cook({folder->path(), call.text("--mirror"), stop, shown});
    if (!files) return tl::unexpected{files.error()};
    auto parts = open_parts(*files);
    if (!parts) return tl::unexpected{parts.error()};
    auto hash = fingerprint_of(*parts);
    if (!hash) return tl::unexpected{hash.error()};
    fingerprint = *hash;
    if (auto done = upload(daemon, *parts, fingerprint, shown); !done) return done;
    if (auto done = point_alias(daemon, alias, fingerprint); !done) return done;
  }
  std::cout << "Image " << alias << " is ready, fingerprint " << fingerprint << '\n';
  return {};
}

} // namespace troupe
