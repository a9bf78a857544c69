#include "actors/instance.hpp"
#include "gateway/bus/bytes.hpp"
#include "gateway/bus/inside.hpp"
#include "gateway/bus/methods.hpp"
#include "gateway/file_events.hpp"

namespace troupe::on_bus {
namespace {

std::string absolute(capnp::Text::Reader path) {
  auto out = text(path);
  if (out.empty()) refuse(fault::invalid, "The parameter \"path\" is missing");
  return out.front() == '/' ? out : "/" + out;
}

// Where the instance's files are right now, then `work(driver, root)` on a thread for what may hang in it.
template <class Work>
auto with_root(const place& at, Work work) {
  return ask<file_root_ptr>(at, role::instances, to_instance{at.head->project, at.name()}, locate_root{at.head})
      .then([at, work](file_root_ptr&& root) {
        return inside_instance(at, [root, work] { return work(*root->driver, *root); });
      });
}

void tell(const place& at, std::string_view action, const std::string& path) {
  tell_file_event(at.with(), *at.head, at.name(), action, path);
}

using found_file = std::shared_ptr<file_info>;

kj::Promise<found_file> look_at(const call_ptr& c, const std::string& path) {
  return with_root(c->at, [path](instance_driver& driver, const file_root& root) -> outcome<found_file> {
    auto info = driver.read_file(root, path);
    if (!info) return tl::unexpected{info.error()};
    return std::make_shared<file_info>(std::move(*info));
  });
}

void show(const call_ptr& c, const file_info& info) {
  using type = bus::FileView::Type;
  auto out = c->results<bus::FileView>();
  out.setType(info.type == 'd' ? type::DIRECTORY : info.type == 'l' ? type::SYMLINK : type::FILE);
  out.setUid(info.uid);
  out.setGid(info.gid);
  out.setMode(info.mode);
  out.setSize(info.size);
  out.setModified(info.modified);
  out.setTarget(info.target);
  fill(out.initEntries(static_cast<unsigned>(info.entries.size())), info.entries);
}

std::optional<uint32_t> given(int64_t value) {
  return value < 0 ? std::nullopt : std::optional{static_cast<uint32_t>(value)};
}

file_write how_to_write(char type, bus::Files::Owner::Reader owner) {
  file_write how;
  how.type = type;
  how.uid = given(owner.getUid());
  how.gid = given(owner.getGid());
  how.mode = given(owner.getMode());
  if (how.mode) *how.mode &= 07777;
  return how;
}

using open_file = std::shared_ptr<const unique_fd>;

kj::Promise<open_file> make_file(const call_ptr& c, const std::string& path, const file_write& how) {
  return with_root(c->at, [path, how](instance_driver& driver, const file_root& root) -> outcome<open_file> {
    auto file = driver.write_file(root, path, how);
    if (!file) return tl::unexpected{file.error()};
    return std::make_shared<const unique_fd>(std::move(*file));
  });
}

kj::Promise<void> make(const call_ptr& c, const std::string& path, const file_write& how) {
  return make_file(c, path, how).then([c, path](open_file&&) { tell(c->at, "instance-file-pushed", path); });
}

} // namespace

kj::Promise<void> view_file(const call_ptr& c) {
  return look_at(c, absolute(c->params<bus::Files::ViewParams>().getPath())).then([c](found_file&& info) {
    show(c, *info);
  });
}

kj::Promise<void> read_file(const call_ptr& c) {
  auto path = absolute(c->params<bus::Files::ReadParams>().getPath());
  return look_at(c, path).then([c, path](found_file&& info) -> kj::Promise<void> {
    if (info->type != 'f') refuse(fault::invalid, "Only a regular file has bytes to read");
    tell(c->at, "instance-file-retrieved", path);
    show(c, *info);
    auto content = std::make_shared<const unique_fd>(std::move(info->content));
    if (info->streamed) return send_stream(c->at, content, c->params<bus::Files::ReadParams>().getTo());
    return send_file(c->at, content, info->size, c->params<bus::Files::ReadParams>().getTo());
  });
}

kj::Promise<void> write_file(const call_ptr& c) {
  auto params = c->params<bus::Files::WriteParams>();
  auto path = absolute(params.getPath());
  auto how = how_to_write('f', params.getOwner());
  how.append = params.getAppend();
  return make_file(c, path, how).then([c, path](open_file&& file) {
    auto told = [at = c->at, path] { tell(at, "instance-file-pushed", path); };
    c->results<bus::Files::WriteResults>().setTo(receive_inside(c->at, file, told));
  });
}

kj::Promise<void> make_directory(const call_ptr& c) {
  auto params = c->params<bus::Files::MakeDirectoryParams>();
  return make(c, absolute(params.getPath()), how_to_write('d', params.getOwner()));
}

kj::Promise<void> make_link(const call_ptr& c) {
  auto params = c->params<bus::Files::MakeLinkParams>();
  auto how = how_to_write('l', params.getOwner());
  how.target = text(params.getTarget());
  return make(c, absolute(params.getPath()), how);
}

kj::Promise<void> remove_file(const call_ptr& c) {
  auto path = absolute(c->params<bus::Files::RemoveParams>().getPath());
  auto remove = [path](instance_driver& driver, const file_root& root) -> outcome<bool> {
    auto done = driver.remove_file(root, path);
    if (!done) return tl::unexpected{done.error()};
    return true;
  };
  return with_root(c->at, remove).then([c, path](bool) { tell(c->at, "instance-file-deleted", path); });
}

} // namespace troupe::on_bus
